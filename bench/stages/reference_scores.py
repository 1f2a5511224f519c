"""Stage: log-probabilities of labelled pairs under the reference, computed once for every run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import labels, sft, tokenizer

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1
FILE = "logps.safetensors"


def inputs(cell: "Cell", by: str, part: str) -> dict[str, Any]:
    return {"sft": cell.key(sft), "labels": cell.key(labels, by=by, part=part)}


def build(cell: "Cell", folder: Path, checkpoints: Path, by: str, part: str) -> dict[str, Any]:
    """chosen, rejected: Float[sum of lengths], responses one after the other."""
    import torch
    from accelerate import Accelerator
    from safetensors.torch import save_file

    from ..models.build import load_policy
    from ..models.scoring import reference_logps
    from ..models.tokens import Tokens, load_tokenizer

    words = load_tokenizer(cell.make(tokenizer))
    device = Accelerator().device
    reference = load_policy(cell.make(sft)).to(device)
    pairs = labels.pair_rows(cell, words, by, part)
    micro = cell.config["model"]["micro_batch"]
    flat = {}
    with cell.display.stage(f"reference scores ({by}, {part})", 2 * len(pairs)) as bar:
        for side in ("chosen", "rejected"):
            rows, found = getattr(pairs, side), []
            for i in range(0, len(rows), micro):
                tokens = Tokens.collate(rows[i : i + micro], words.pad_token_id).to(device)
                found.append(reference_logps(reference, tokens, micro)[tokens.mask].cpu())
                bar.advance(len(tokens))
            flat[side] = torch.cat(found)
    save_file(flat, folder / FILE)
    return {"tokens": int(sum(map(len, flat.values())))}


def load(folder: Path, side: str, lengths: list[int]) -> list[Any]:
    """One tensor a response."""
    from safetensors.torch import load_file

    return list(load_file(folder / FILE)[side].split(lengths))
