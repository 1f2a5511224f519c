"""Stage: what the reference's head reads at every token of ours in labelled pairs, for losses that
compare whole distributions with it.

So the reference is read once, whoever learns from the pairs, and its head alone is called again. Kept in
float32, 4 H bytes a token.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import reference_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from ..models.tokens import Tokens
    from ..training.batches import Row
    from ..training.feeds import PairRows
    from ..training.progress import Bar
    from .cell import Cell

VERSION = 1
FILE = "states.safetensors"


def inputs(cell: "Cell", by: str, part: str) -> dict[str, Any]:
    return reference_scores.inputs(cell, by, part)


def build(cell: "Cell", folder: Path, checkpoints: Path, by: str, part: str) -> dict[str, Any]:
    """chosen, rejected: Float[sum of tokens of ours, H], responses one after the other."""
    from safetensors.torch import save_file

    found = reference_scores.of_pairs(cell, by, part, "reference states", states)
    save_file(found, folder / FILE)
    return {"tokens": sum(map(len, found.values()))}


def states(
    model: "nn.Module", rows: "Sequence[Row]", pad_id: int, micro: int, bar: "Bar"
) -> "Tensor":
    """Of every token of ours: Float[sum of tokens, H]."""
    import torch

    from ..models.scoring import before_head

    @torch.no_grad()
    def read(tokens: "Tokens") -> "Tensor":
        return before_head(model, tokens)[1].float()

    return reference_scores.in_turn(model, rows, pad_id, micro, bar, read)


def known(cell: "Cell", by: str, pairs: "PairRows") -> "PairRows":
    """The pairs that policies train on, with what the reference's head reads of them."""
    from safetensors.torch import load_file

    found = load_file(cell.make(sys.modules[__name__], by=by, part="train") / FILE)
    each = {
        f"{side}_ref_states": x.split([
            sum(token >= 0 for token in said) for _, said in getattr(pairs, side)
        ])
        for side, x in found.items()
    }  # fmt: skip
    return replace(pairs, **each)
