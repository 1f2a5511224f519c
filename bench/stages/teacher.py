"""Stage: a policy that a pair loss made of the SFT model, for others to read how it sees tokens.

The recipe's `feed.token_reward` names the loss. It learns from the labelled pairs, as many updates as
policies get.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import labels, reference_scores, sft, tokenizer

if TYPE_CHECKING:
    from torch import nn

    from ..training.feeds import PairRows
    from ..training.loop import Trained
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell", by: str) -> dict[str, Any]:
    return learning(cell, by, cell.config["feed"]["token_reward"])


def learning(cell: "Cell", by: str, algo: Mapping[str, Any]) -> dict[str, Any]:
    """All that determines a policy which learns from these labels by this loss."""
    config = cell.config
    return {
        "sft": cell.key(sft),
        "labels": cell.key(labels, by=by, part="train"),
        "reference_scores": cell.key(reference_scores, by=by, part="train"),
        "algo": algo,
        "updates": config["budget"]["updates"],
        "responses": config["budget"]["responses"],
        "optimization": config["model"]["optimization"],
        "seed": config["seed"],
    }


def build(cell: "Cell", folder: Path, checkpoints: Path, by: str) -> dict[str, Any]:
    import pandas as pd

    from ..models.tokens import load_tokenizer
    from ..training.loop import spent

    words = load_tokenizer(cell.make(tokenizer))
    pairs = reference_scores.known(cell, by, labels.pair_rows(cell, words, by, "train"))
    spec, name = inputs(cell, by), f"teacher ({by})"
    policy, run = taught(cell, spec, pairs, words.pad_token_id, checkpoints, name)
    policy.save_pretrained(folder)
    words.save_pretrained(folder)
    pd.DataFrame(run.log).to_parquet(folder / "log.parquet")
    return spent(run, [policy])


def taught(
    cell: "Cell",
    spec: Mapping[str, Any],
    pairs: "PairRows",
    pad_id: int,
    checkpoints: Path,
    name: str,
) -> "tuple[nn.Module, Trained]":
    """A copy of the SFT model that has learned from these pairs, and how."""
    from hydra.utils import instantiate

    from ..models.build import load_policy
    from ..training.batches import Models
    from ..training.feeds import compared
    from ..training.loop import Optimization, train

    algo, accelerator = instantiate(spec["algo"]), cell.accelerator()
    policy = cell.computing.learning(accelerator.prepare_model(load_policy(cell.make(sft))))
    with cell.display.stage(name, spec["updates"]) as bar:
        run = train(
            algo,
            compared(algo, pairs, spec["responses"], spec["seed"], pad_id, accelerator.device),
            Models(policy=policy, computing=cell.computing),
            Optimization(**spec["optimization"]),
            updates=spec["updates"],
            seed=spec["seed"],
            micro=cell.config["model"]["micro_batch"],
            accelerator=accelerator,
            checkpoints=checkpoints,
            bar=bar,
            stage=name,
        )
    return accelerator.unwrap_model(policy), run
