"""Stage: two answers of the SFT model to each of some prompts, at temperature 1."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tasks.example import DataError, Example
from . import lengths, sft, tokenizer

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1
# Of task.pairs: prompts of each part. Seeds count parts by the alphabet: a new one must come last.
SHARES = {"train": 1.0, "held_out": 0.5, "test": 0.125, "unseen": 0.125, "waiting": 0.25}
SPLITS = {"test": "validation", "unseen": "test_unseen"}  # of parts that nothing learns from


def inputs(cell: "Cell", part: str) -> dict[str, Any]:
    return {
        "sft": cell.key(sft),
        "lengths": cell.key(lengths),
        "pairs": cell.shared(cell.config["task"]["pairs"]),
        "response_tokens": cell.config["task"]["response_tokens"],
        "seed": cell.config["shared_seed"],
    }


def part_of(cell: "Cell", part: str) -> list[Example]:
    """Disjoint prompts: `train`, `held_out` and `waiting` from the training split, others from SPLITS."""
    wanted = {
        name: cell.shared(share * cell.config["task"]["pairs"]) for name, share in SHARES.items()
    }
    if part in SPLITS:
        return cell.examples(SPLITS[part])[: wanted[part]]
    rows = cell.examples("train")
    order = np.random.default_rng([cell.config["shared_seed"], 7]).permutation(len(rows))
    cut = min(wanted["train"], 2 * len(rows) // 3)
    end = cut + wanted["held_out"]
    parts = {"train": order[:cut], "held_out": order[cut:end]}
    parts["waiting"] = order[end : end + wanted["waiting"]]
    if not len(parts[part]):
        raise DataError(
            f"task {cell.task.name}: no prompt is left for the part {part}: give more rows"
        )
    return [rows[i] for i in parts[part]]


def build(cell: "Cell", folder: Path, checkpoints: Path, part: str) -> dict[str, Any]:
    return drawn(cell, cell.make(sft), folder, part, "samples")


def drawn(cell: "Cell", path: Path, folder: Path, part: str, name: str) -> dict[str, Any]:
    """Two answers of a policy to each prompt of the part, side by side in `samples.parquet`."""
    import pandas as pd

    from ..models.build import load_policy
    from ..models.sampling import Decoding, draw
    from ..models.tokens import load_tokenizer, texts_of

    words = load_tokenizer(cell.make(tokenizer))
    policy = load_policy(path).to(cell.device)
    examples = part_of(cell, part)
    decoding = Decoding(max_new_tokens=cell.config["task"]["response_tokens"])
    seed = [cell.config["shared_seed"], 11, sorted(SHARES).index(part)]
    with cell.display.stage(f"{name} ({part})", 2 * len(examples)) as bar:
        made = draw(
            policy,
            words,
            [x.prompt for x in examples],
            decoding,
            int(np.random.SeedSequence(seed).generate_state(1)[0]),
            per_prompt=2,
            on_rows=bar.advance,
            reply=cell.task.replies(examples),
        )
    table = pd.DataFrame({
        "example": [x.id for x in examples for _ in range(2)],
        "text": texts_of(words, made.ids),
        "ids": made.ids,
        "finished": made.finished,
    })  # fmt: skip
    table.to_parquet(folder / "samples.parquet")
    return {"prompts": len(examples), "end_rate": float(np.mean(made.finished))}
