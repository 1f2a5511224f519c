"""Stage: what the reference's head reads at every token of ours in labelled pairs, for losses that
compare whole distributions with it.

So the reference is read once, whoever learns from the pairs, and its head alone is called again. Kept in
float32, 4 H bytes a token.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import labels, sft, tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from ..training.batches import Row
    from ..training.feeds import PairRows
    from ..training.progress import Bar
    from .cell import Cell

VERSION = 1
FILE = "states.safetensors"


def inputs(cell: "Cell", by: str, part: str) -> dict[str, Any]:
    return {"sft": cell.key(sft), "labels": cell.key(labels, by=by, part=part)}


def build(cell: "Cell", folder: Path, checkpoints: Path, by: str, part: str) -> dict[str, Any]:
    """chosen, rejected: Float[sum of tokens of ours, H], responses one after the other."""
    from safetensors.torch import save_file

    from ..models.build import load_policy
    from ..models.tokens import load_tokenizer

    words = load_tokenizer(cell.make(tokenizer))
    reference = load_policy(cell.make(sft)).to(cell.device)
    pairs = labels.pair_rows(cell, words, by, part)
    with cell.display.stage(f"reference states ({by}, {part})", 2 * len(pairs)) as bar:
        micro = cell.config["model"]["micro_batch"]
        with cell.computing.autocast(cell.device):
            found = {
                side: states(reference, getattr(pairs, side), words.pad_token_id, micro, bar)
                for side in ("chosen", "rejected")
            }
    save_file(found, folder / FILE)
    return {"tokens": sum(map(len, found.values()))}


def states(
    model: "nn.Module", rows: "Sequence[Row]", pad_id: int, micro: int, bar: "Bar"
) -> "Tensor":
    """Of every token of ours: Float[sum of tokens, H]."""
    import torch

    from ..models.computing import device_of
    from ..models.scoring import before_head
    from ..models.tokens import Tokens

    found = []
    with torch.no_grad():
        for i in range(0, len(rows), micro):
            tokens = Tokens.collate(rows[i : i + micro], pad_id).to(device_of(model))
            found.append(before_head(model, tokens)[1].float().cpu())
            bar.advance(len(tokens))
    return torch.cat(found)


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
