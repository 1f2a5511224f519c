"""ROUGE-1, -2, -L and -Lsum, as F-measures with Porter's stemmer, one value per example.

Lin, 2004, https://aclanthology.org/W04-1013, in rouge_score's re-implementation of ROUGE-1.5.5 -m.
What is commonly got wrong, and what is done here:

* the aggregate is the mean, which callers take; rouge_score's own is a quantile of draws from
  numpy's global generator;
* Lsum needs sentences: lines, and where a text is one line, what ends in . ! or ? before a space
  (abbreviations split too). Without any, Lsum would be L;
* of several references the best one counts, for each variant apart;
* rouge_score's tokenizer, `latin`, keeps [a-z0-9] alone. A text that has none scores 0, is counted, and
  is warned about. `unicode` reads words of any script, folded (NFKC, case), and each sign of a script
  that has no spaces by itself; what both read they read alike but for accents, which `latin` cuts at;
* an empty text scores 0;
* before Porter's stemmer ROUGE-1.5.5 looks irregular forms up (women, said; WordNet's exceptions, from
  memory), and rouge_score does not. REALSumm's 2,400 published rows: 1,378 are met to 1e-5; 271 show
  other references than they were scored with; of the other 751, 433 differ in words, of which 363 have
  the published ROUGE-1 and -2 once 180 irregular verbs and nouns are looked up, and 318 in L alone: 45
  are met by another of several longest subsequences, and 172 answer the same 10 references, which seem
  to have been cut into other sentences (of every fourth of the 273, joining some met a third).
"""

import re
import unicodedata
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

VARIANTS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
WORDS = {  # tokenizer -> what it takes for a word
    "latin": re.compile("[a-z0-9]+"),
    "unicode": re.compile(
        f"[{UNSPACED}]|[^\\W_{UNSPACED}]+"
    ),  # Thai to Khmer, kana, Chinese characters
}


def rouge(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    tokenizer: str = "latin",
) -> dict[str, list[float]]:
    """Variant -> F-measure in [0, 1] of each prediction against the best of its references."""
    if tokenizer not in WORDS:
        raise ValueError(f"metrics.rouge.tokenizer={tokenizer!r}: one of {', '.join(WORDS)}")
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    several = [[r] if isinstance(r, str) else list(r) for r in references]
    for row, them in enumerate(several):
        if not them:
            raise ValueError(f"row {row} has no reference")
    if lost := tokenless([*predictions, *(r for them in several for r in them)], tokenizer):
        reads = "[a-z0-9]" if tokenizer == "latin" else "letters and digits"
        warnings.warn(f"ROUGE reads {reads} only: {lost} texts score 0 unread", stacklevel=2)
    scores = [
        [score(prediction, reference, tokenizer) for reference in them]
        for prediction, them in zip(predictions, several, strict=True)
    ]
    return {v: [max(one[v] for one in row) for row in scores] for v in VARIANTS}


def signature(tokenizer: str = "latin") -> str:
    """How the numbers were made, in the manner of sacreBLEU. Equal signatures are comparable."""
    return "|".join(
        [
            "rouge:1+2+L+Lsum",
            "value:F1",
            "stem:porter",
            "split:newline,else-after-[.!?]",
            "tok:[a-z0-9]+" if tokenizer == "latin" else f"tok:{tokenizer}-nfkc",
            "refs:best-per-variant",
            "agg:mean",
            f"nltk:{version('nltk')}",
            f"version:{version('rouge_score')}",
        ]
    )


def tokenless(texts: Sequence[str], tokenizer: str = "latin") -> int:
    """How many texts are not blank and yet hold nothing that ROUGE reads: emoji, for `latin` Greek."""
    return sum(bool(text.strip()) and not WORDS[tokenizer].search(text.lower()) for text in texts)


def sentences(text: str) -> list[str]:
    """The lines of a text; of a single line its sentences, which end in . ! or ?"""
    text = text.strip()
    return text.split("\n") if "\n" in text else re.split(r"(?<=[.!?])\s+", text)


def score(prediction: str, reference: str, tokenizer: str = "latin") -> dict[str, float]:
    """Variant -> F-measure of one pair."""
    # texts without their newlines score the same but for Lsum, which reads nothing else of them
    pair = ("\n".join(sentences(text)) for text in (reference, prediction))
    return {variant: float(s.fmeasure) for variant, s in scorer(tokenizer).score(*pair).items()}


@cache
def scorer(tokenizer: str = "latin") -> Any:
    """rouge_score's scorer on a tokenizer that remembers stems and texts: both repeat a lot."""
    from nltk.stem.porter import PorterStemmer
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenize import tokenize

    class Remembering:
        stem = staticmethod(lru_cache(1 << 16)(PorterStemmer().stem))

        @staticmethod
        @lru_cache(1 << 13)
        def tokenize(text: str) -> list[str]:
            if tokenizer == "latin":
                return tokenize(text, Remembering)
            words = WORDS[tokenizer].findall(unicodedata.normalize("NFKC", text).casefold())
            return [Remembering.stem(w) if len(w) > 3 else w for w in words]  # as rouge_score does

    return RougeScorer(VARIANTS, tokenizer=Remembering())


@cache
def metric() -> type:
    """The class `Rouge`, made when first asked for: `import evaluate` takes seconds."""
    import datasets
    import evaluate

    class Rouge(evaluate.Metric):
        """`rouge` through the interface of `evaluate`. Needs no hub; keeps its rows in memory."""

        __module__, __qualname__ = __name__, "Rouge"

        tokenless = 0  # texts of the last `compute` that ROUGE could not read

        def __init__(self, **kwargs: Any):
            super().__init__(**{"keep_in_memory": True, **kwargs})

        @property
        def signature(self) -> str:
            return signature()

        def _info(self) -> evaluate.MetricInfo:
            text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))
            return evaluate.MetricInfo(
                description=__doc__,
                citation="https://aclanthology.org/W04-1013",
                features=[
                    datasets.Features({"predictions": text, "references": texts}),
                    datasets.Features({"predictions": text, "references": text}),
                ],
            )

        def _compute(self, predictions: list[str], references: list) -> dict[str, list[float]]:
            several = [[r] if isinstance(r, str) else r for r in references]
            self.tokenless = tokenless([*predictions, *(r for them in several for r in them)])
            return rouge(predictions, several)

    return Rouge


def __getattr__(name: str) -> Any:
    if name == "Rouge":
        return metric()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
