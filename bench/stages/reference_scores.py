"""Stage: log-probabilities of labelled pairs under the reference, computed once for every run."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import labels, sft, tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from ..models.tokens import Tokens
    from ..training.batches import Row
    from ..training.feeds import PairRows
    from ..training.progress import Bar
    from .cell import Cell

VERSION = 1
FILE = "logps.safetensors"


def inputs(cell: "Cell", by: str, part: str) -> dict[str, Any]:
    return {"sft": cell.key(sft), "labels": cell.key(labels, by=by, part=part)}


def build(cell: "Cell", folder: Path, checkpoints: Path, by: str, part: str) -> dict[str, Any]:
    """chosen, rejected: Float[sum of lengths], responses one after the other."""
    from safetensors.torch import save_file

    flat = of_pairs(cell, by, part, "reference scores", logps)
    save_file(flat, folder / FILE)
    return {"tokens": int(sum(map(len, flat.values())))}


def of_pairs(
    cell: "Cell", by: str, part: str, title: str, tell: "Callable[..., Tensor]"
) -> "dict[str, Tensor]":
    """What `tell`, called as `logps` is, asks the reference of chosen and of rejected responses."""
    from ..models.build import load_policy
    from ..models.tokens import load_tokenizer

    words = load_tokenizer(cell.make(tokenizer))
    reference = load_policy(cell.make(sft)).to(cell.device)
    pairs = labels.pair_rows(cell, words, by, part)
    micro = cell.config["model"]["micro_batch"]
    with (
        cell.display.stage(f"{title} ({by}, {part})", 2 * len(pairs)) as bar,
        cell.computing.autocast(cell.device),
    ):
        return {
            side: tell(reference, getattr(pairs, side), words.pad_token_id, micro, bar)
            for side in ("chosen", "rejected")
        }


def logps(
    model: "nn.Module", rows: "Sequence[Row]", pad_id: int, micro: int, bar: "Bar"
) -> "Tensor":
    """log π of every response token, 0 for what others say, responses one after the other: Float[sum
    of lengths]."""
    from ..models.scoring import reference_logps

    def read(tokens: "Tokens") -> "Tensor":
        return reference_logps(model, tokens, micro)[tokens.filled]

    return in_turn(model, rows, pad_id, micro, bar, read)


def in_turn(
    model: "nn.Module",
    rows: "Sequence[Row]",
    pad_id: int,
    micro: int,
    bar: "Bar",
    read: "Callable[[Tokens], Tensor]",
) -> "Tensor":
    """What is read of all rows, so many at a time where the model is."""
    import torch

    from ..models.computing import device_of
    from ..models.tokens import Tokens

    found = []
    for i in range(0, len(rows), micro):
        tokens = Tokens.collate(rows[i : i + micro], pad_id).to(device_of(model))
        found.append(read(tokens).cpu())
        bar.advance(len(tokens))
    return torch.cat(found)


def known(cell: "Cell", by: str, pairs: "PairRows") -> "PairRows":
    """The pairs that policies train on, with what the reference says of them."""
    folder = cell.make(sys.modules[__name__], by=by, part="train")
    chosen, rejected = load(folder, pairs)
    return replace(pairs, chosen_ref_logps=chosen, rejected_ref_logps=rejected)


def load(folder: Path, pairs: "PairRows") -> tuple[list[Any], list[Any]]:
    """Of chosen and of rejected responses: one tensor a response."""
    from safetensors.torch import load_file

    flat = load_file(folder / FILE)
    chosen, rejected = (
        list(flat[side].split([len(response) for _, response in getattr(pairs, side)]))
        for side in ("chosen", "rejected")
    )
    return chosen, rejected
