"""Stage: how two models, taught the opposite of each other, see every token of the labelled pairs.

The recipe's `feed.contrast` names a loss. Under it one copy of the SFT model learns from the labels and
another from the reverse of them, as many updates as policies get; kept is log π₊ − log π₋ of each token.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import labels, reference_scores, teacher, tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from ..training.feeds import PairRows
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell", by: str) -> dict[str, Any]:
    return teacher.learning(cell, by, cell.config["feed"]["contrast"])


def build(cell: "Cell", folder: Path, checkpoints: Path, by: str) -> dict[str, Any]:
    """chosen, rejected: Float[sum of lengths], responses one after the other."""
    from safetensors.torch import save_file

    from ..models.tokens import load_tokenizer

    words = load_tokenizer(cell.make(tokenizer))
    pairs = reference_scores.known(cell, by, labels.pair_rows(cell, words, by, "train"))
    reverse = replace(
        pairs,
        chosen=pairs.rejected,
        rejected=pairs.chosen,
        chosen_ref_logps=pairs.rejected_ref_logps,
        rejected_ref_logps=pairs.chosen_ref_logps,
    )
    (likes, one), (dislikes, other) = (
        scores(cell, by, taught, pairs, words.pad_token_id, checkpoints / name)
        for name, taught in [("labels", pairs), ("reverse", reverse)]
    )
    apart = {side: likes[side] - dislikes[side] for side in likes}
    save_file(apart, folder / reference_scores.FILE)
    means = {f"mean_{side}": float(x.mean()) for side, x in apart.items()}
    return {**means, **{name: one[name] + other[name] for name in one}}


def scores(
    cell: "Cell", by: str, taught: "PairRows", pairs: "PairRows", pad_id: int, checkpoints: Path
) -> "tuple[dict[str, Tensor], dict[str, float]]":
    """log π of every response token of the pairs, by a model that has learned from `taught`; and what
    learning took."""
    from ..training.loop import spent

    name = f"contrast ({by}, {checkpoints.name})"
    checkpoints.mkdir(exist_ok=True)
    policy, run = teacher.taught(cell, inputs(cell, by), taught, pad_id, checkpoints, name)
    micro = cell.config["model"]["micro_batch"]
    with cell.display.stage(f"{name}: scores", 2 * len(pairs)) as bar:
        found = {
            side: reference_scores.logps(policy, getattr(pairs, side), pad_id, micro, bar)
            for side in ("chosen", "rejected")
        }
    return found, spent(run, [policy])
