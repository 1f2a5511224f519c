"""Stage: supervised fine-tuning. What it makes is where every policy starts, and the reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tasks.example import DataError
from . import lengths, tokenizer

if TYPE_CHECKING:
    from .cell import Cell

VERSION = 2


def inputs(cell: "Cell") -> dict[str, Any]:
    model = cell.config["model"]
    start = {"path": model["path"]} if model["path"] else {"architecture": model["architecture"]}
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
        return models.load_policy(spec["path"])
    return models.from_scratch(spec["architecture"], words, spec["seed"])


def build(cell: "Cell", folder: Path, checkpoints: Path) -> dict[str, Any]:
    """Token mean over demonstrations (algos.SFT); a model that comes fine-tuned takes 0 updates."""
    import pandas as pd
    from accelerate import Accelerator

    from algos import SFT

    from ..models import build as models
    from ..models.tokens import load_tokenizer
    from ..training.batches import Models
    from ..training.feeds import Shuffled, demonstrations
    from ..training.loop import Optimization, train

    spec = inputs(cell)
    words = load_tokenizer(cell.make(tokenizer))
    accelerator = Accelerator()
    policy = accelerator.prepare_model(untrained(cell, words))
    settings = {k: v for k, v in spec["sft"].items() if k not in ("updates", "responses")}
    updates, log = spec["updates"] if spec["sft"]["updates"] else 0, []
    if updates:
        rows = [x for x in cell.examples("train") if x.demonstration]
        if not rows:
            raise DataError(
                f"task {cell.task.name} has no demonstrations: give model.path a model that is "
                "fine-tuned already, and set model.sft.updates=0"
            )
        feed = Shuffled(
            demonstrations(words, [(x.prompt, x.demonstration) for x in rows], accelerator.device),
            count=len(rows),
            size=spec["sft"]["responses"],
            seed=spec["seed"],
        )
        with cell.display.stage("sft", updates) as bar:
            log = train(
                SFT(),
                feed,
                Models(policy=policy),
                Optimization(**settings),
                updates=updates,
                seed=spec["seed"],
                micro=cell.config["model"]["micro_batch"],
                accelerator=accelerator,
                checkpoints=checkpoints,
                bar=bar,
                stage="sft",
            ).log
    accelerator.unwrap_model(policy).save_pretrained(folder)
    words.save_pretrained(folder)
    pd.DataFrame(log).to_parquet(folder / "log.parquet")
    return {"parameters": models.parameters(policy), "loss": log[-1]["loss"] if log else None}
