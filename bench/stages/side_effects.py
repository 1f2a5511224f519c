"""Stage: what training changed besides what it was to change.

Of the policy's own test answers: how alike they are to each other, how much of the prompt they copy, how
sure the policy is of its words and how odd the SFT model finds them. Of the pairs that nothing learned
from: how far the log-probabilities of both answers moved, which preference losses may lower together.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics.diversity import copied, self_bleu
from ..stats.bootstrap import mean_interval
from . import evaluate, labels, sft, tokenizer
from .candidates import test_examples

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1
MEANING = {  # column -> (what it is, unit)
    "self_bleu": ("BLEU-4 of an answer with all others of its split as references", "share"),
    "copied": ("share of an answer's 3-grams that stand in its prompt", "share"),
    "entropy": ("entropy of π along an answer", "nats a token"),
    "sft_nll": ("−log π_SFT of an answer", "nats a token"),
    "chosen_moved": ("log π − log π_SFT of preferred answers", "nats a response"),
    "rejected_moved": ("log π − log π_SFT of the others", "nats a response"),
}


def inputs(cell: "Cell") -> dict[str, Any]:
    found = evaluate.answering(cell)
    by = labels.by_default(cell)
    if not labels.has_labels(cell, by):
        found["pairs"] = cell.key(labels, by=by, part="test")
    return found


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """columns: prompt_id, split (`pairs` of those that were labelled), and those of MEANING."""
    import pandas as pd

    from ..models.build import load_policy
    from ..models.scoring import reference_logps
    from ..models.tokens import Tokens, load_tokenizer, texts_of

    answering = evaluate.policy_of(cell, "end")
    words, plain = load_tokenizer(answering), load_tokenizer(cell.make(tokenizer))
    policy, reference = load_policy(answering), load_policy(cell.make(sft))
    rows, micro = test_examples(cell), cell.config["model"]["micro_batch"]
    prompts = [x.prompt for _, x in rows]
    with cell.display.stage(f"side effects {cell.config['name']}"):
        said = evaluate.sampled(cell, "end", [x for _, x in rows], words).ids
        ours, theirs = (Tokens.behind(w, prompts, said) for w in (words, plain))
        texts = pd.Series(texts_of(words, said))
        table = pd.DataFrame({
            "prompt_id": [x.id for _, x in rows],
            "split": [split for split, _ in rows],
            "copied": [copied(*both) for both in zip(texts, prompts, strict=True)],
        })  # fmt: skip
        table["self_bleu"] = texts.groupby(table["split"]).transform(lambda x: self_bleu(list(x)))
        table["entropy"] = per_token(entropies(policy, ours, micro), ours)
        table["sft_nll"] = per_token(-reference_logps(reference, theirs, micro), theirs)
        tables = [table]
        if "pairs" in inputs(cell):
            tables.append(moved(cell, (policy, words), (reference, plain)))
    table = pd.concat(tables)
    table.to_parquet(folder / "side_effects.parquet")
    return {"metrics": metrics(table)}


def entropies(policy: Any, tokens: Any, rows: int) -> Any:
    """Of the next token at every place of a response, in nats: Float[B, T]."""
    import torch

    from ..models.scoring import in_parts, score

    needs = frozenset({"token_entropy"})
    with torch.no_grad():
        return torch.cat([score(x, needs, policy).token_entropy for x in in_parts(tokens, rows)])


def per_token(values: Any, tokens: Any) -> np.ndarray:
    """The mean over the tokens of a response: Float[B, T] -> Float[B]."""
    return (values.sum(-1) / tokens.mask.sum(-1)).numpy()


def moved(cell: "Cell", ours: tuple[Any, Any], theirs: tuple[Any, Any]) -> Any:
    """How far the answers of labelled pairs are from where they were; ours, theirs: model, tokenizer."""
    import pandas as pd

    from ..models.scoring import reference_logps
    from ..models.tokens import Tokens

    by, micro = labels.by_default(cell), cell.config["model"]["micro_batch"]
    found: dict[str, Any] = {}
    both = [labels.pair_rows(cell, words, by, "test") for _, words in (ours, theirs)]
    for side in ("chosen", "rejected"):
        now, before = (
            reference_logps(model, Tokens.collate(getattr(rows, side), words.pad_token_id), micro)
            for (model, words), rows in zip((ours, theirs), both, strict=True)
        )
        found[f"{side}_moved"] = (now.sum(-1) - before.sum(-1)).numpy()
    pairs = labels.table(cell, by, "test")
    return pd.DataFrame({"prompt_id": list(pairs["example"]), "split": "pairs", **found})


def metrics(table: Any) -> dict[str, dict[str, Any]]:
    """The mean of each column of each split, clustered by prompt."""
    found = {}
    for split, rows in table.groupby("split"):
        suffix = "" if split == "pairs" else split.removeprefix("test")
        for name, (meaning, unit) in MEANING.items():
            there = rows[rows[name].notna()]
            if len(there):
                mean = mean_interval(there[name].to_numpy(), clusters=list(there["prompt_id"]))
                how = f"{meaning}, mean over prompts, percentile bootstrap"
                found[name + suffix] = {**mean.fields, "estimator": how, "unit": unit}
    return found
