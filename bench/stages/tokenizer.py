"""Stage: the tokenizer, the model's own or one learned from the task's training text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tasks.example import TURN

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell") -> dict[str, Any]:
    model = cell.config["model"]
    if model["path"]:
        return {"path": model["path"]}
    return {"data": cell.data, "tokenizer": cell.config["task"]["tokenizer"]}


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    from hydra.utils import instantiate

    from ..models.tokens import load_tokenizer

    model = cell.config["model"]
    with cell.display.stage("tokenizer"):
        if model["path"]:
            tokenizer = load_tokenizer(model["path"])
        else:
            tokenizer = instantiate(cell.config["task"]["tokenizer"], training_text(cell))
    tokenizer.save_pretrained(folder)
    return {"vocabulary": len(tokenizer)}


def training_text(cell: "Cell") -> list[str]:
    """Everything that the training split says."""
    texts = []
    for x in cell.task.splits["train"]:
        answers = (x.demonstration, x.chosen, x.rejected, x.completion, *x.references)
        taught = dict.fromkeys(a for a in answers if a)
        texts += [x.prompt, *(turn for a in taught for turn in a.split(TURN))]
    return texts
