"""Stage: the SFT model after supervised training on revisions, from which `cai` goes on.

Bai et al., 2022, https://arxiv.org/abs/2212.08073, section 3 (SL-CAI): `feedback.constitution.epochs`
over the revisions, at a share of the learning rate of supervised training. Departures: of the last
`learned_rounds` rounds, where the paper learns from all, each text once; no answers to other prompts
are mixed in, as all prompts of a task are alike.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tasks.example import DataError
from . import critique, sft, tokenizer

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell") -> dict[str, Any]:
    spec = critique.settings(cell)
    return {
        "sft": cell.key(sft),
        "revisions": cell.key(critique),
        "response_tokens": cell.config["task"]["response_tokens"],
        "optimization": cell.config["model"]["sft"],
        "lr_share": spec["lr_share"],
        "epochs": spec["epochs"],
        "learned_rounds": spec["learned_rounds"],
        "seed": cell.config["shared_seed"],
    }


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    import pandas as pd

    from ..models.build import load_policy
    from ..models.tokens import load_tokenizer

    spec = inputs(cell)
    words = load_tokenizer(cell.make(tokenizer))
    rows, dropped = revisions(cell, words)
    settings = dict(spec["optimization"])
    settings["lr"] *= spec["lr_share"]
    updates = max(1, round(spec["epochs"] * len(rows) / settings["responses"]))
    policy, log = sft.imitating(
        cell, load_policy(cell.make(sft)), words, rows, settings, updates, checkpoints, "revised"
    )
    policy.save_pretrained(folder)
    words.save_pretrained(folder)
    pd.DataFrame(log).to_parquet(folder / "log.parquet")
    return {"revisions": len(rows), "dropped": dropped, "loss": log[-1]["loss"]}


def revisions(cell: "Cell", words: Any) -> tuple[list[tuple[str, str]], int]:
    """((prompt, revision) of the last rounds, each once; how many are empty or too long)."""
    import pandas as pd

    from ..models.tokens import response_ids

    spec = critique.settings(cell)
    table = pd.read_parquet(cell.make(critique) / "revisions.parquet")
    table = table[table["round"] > spec["rounds"] - spec["learned_rounds"]]
    rows = list(dict.fromkeys(zip(table["prompt"], table["revision"], strict=True)))
    room = cell.config["task"]["response_tokens"]
    lengths = [len(ids) for ids in response_ids(words, [text for _, text in rows])]
    kept = [row for row, n in zip(rows, lengths, strict=True) if row[1].strip() and n <= room]
    if not kept:
        raise DataError(
            f"task {cell.task.name}: none of {len(rows)} revisions has words and at most {room} tokens: "
            "raise task.response_tokens or choose another critic"
        )
    return kept, len(rows) - len(kept)
