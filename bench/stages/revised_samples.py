"""Stage: two answers to each of some prompts by the model that has learned from revisions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import revised, samples

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell", part: str) -> dict[str, Any]:
    return {"policy": cell.key(revised), "as": cell.key(samples, part=part)}


def build(cell: "Cell", folder: Path, checkpoints: Path, part: str) -> dict[str, Any]:
    """To the very prompts, and with the random numbers, of the stage `samples`."""
    return samples.drawn(cell, cell.make(revised), folder, part, "revised samples")
