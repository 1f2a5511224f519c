"""Stage: supervised fine-tuning. What it makes is where every policy starts, and the reference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tasks.example import DataError
from . import lengths, tokenizer

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 2
# How the model reads rows and computes, where nothing is said of it: other ways make other last digits.
USUAL = {"layout": "padded", "precision": "float32", "compile": False, "workers": 1}


def inputs(cell: "Cell") -> dict[str, Any]:
    model = cell.config["model"]
    start = {"path": model["path"]} if model["path"] else {"architecture": model["architecture"]}
    start |= {k: model[k] for k, usual in USUAL.items() if model.get(k, usual) != usual}
    return {
        "data": cell.data,
        **start,
        "tokenizer": cell.key(tokenizer),
        "lengths": cell.key(lengths),
        "sft": model["sft"],
        "updates": cell.shared(model["sft"]["updates"]),
        "seed": cell.config["shared_seed"],
    }


def untrained(cell: "Cell", words: Any) -> Any:
    """The model before it has seen a demonstration."""
    from ..models import build as models

    spec = inputs(cell)
    if "path" in spec:
        start = models.load_policy(spec["path"])
    else:
        start = models.from_scratch(spec["architecture"], words, spec["seed"])
    return models.as_laid_out(start, spec.get("layout", "padded"))


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """Imitates demonstrations; a model that comes fine-tuned takes 0 updates."""
    import pandas as pd

    from ..models import build as models
    from ..models.tokens import load_tokenizer

    spec = inputs(cell)
    words = load_tokenizer(cell.make(tokenizer))
    policy, log = untrained(cell, words), []
    if spec["sft"]["updates"]:
        rows = [(x.prompt, x.demonstration) for x in cell.examples("train") if x.demonstration]
        if not rows:
            raise DataError(
                f"task {cell.task.name} has no demonstrations: give model.path a model that is "
                "fine-tuned already, and set model.sft.updates=0"
            )
        policy, log = imitating(
            cell, policy, words, rows, spec["sft"], spec["updates"], checkpoints, "sft"
        )
    policy.save_pretrained(folder)
    words.save_pretrained(folder)
    pd.DataFrame(log).to_parquet(folder / "log.parquet")
    return {"parameters": models.parameters(policy), "loss": log[-1]["loss"] if log else None}


def imitating(
    cell: "Cell",
    policy: Any,
    words: Any,
    rows: Sequence[tuple[str, str]],
    settings: Mapping[str, Any],
    updates: int,
    checkpoints: Path,
    name: str,
) -> tuple[Any, list[dict[str, float]]]:
    """The policy after so many updates on (prompt, response), a token mean (algos.SFT), and their log."""
    from algos import SFT

    from ..training.batches import Models
    from ..training.feeds import Shuffled, demonstrations
    from ..training.loop import Optimization, train

    seed, accelerator = cell.config["shared_seed"], cell.accelerator()
    policy = cell.computing.learning(accelerator.prepare_model(policy))
    collate = demonstrations(words, rows, accelerator.device)
    how = {k: v for k, v in settings.items() if k not in ("updates", "responses")}
    with cell.display.stage(name, updates) as bar:
        run = train(
            SFT(),
            Shuffled(collate, len(rows), settings["responses"], seed),
            Models(policy=policy, computing=cell.computing),
            Optimization(**how),
            updates=updates,
            seed=seed,
            micro=cell.config["model"]["micro_batch"],
            accelerator=accelerator,
            checkpoints=checkpoints,
            bar=bar,
            stage=name,
        )
    return accelerator.unwrap_model(policy), run.log
