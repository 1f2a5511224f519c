"""Stage: how two models, taught the opposite of each other, see every token of the labelled pairs.

The recipe's `feed.contrast` names a loss. Under it one copy of the SFT model learns from the labels and
another from the reverse of them, as many updates as policies get; kept is log π₊ − log π₋ of each token.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import labels, reference_scores, sft, tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from ..training.feeds import PairRows
    from .cell import Cell

VERSION = 1


def inputs(cell: "Cell", by: str) -> dict[str, Any]:
    config = cell.config
    return {
        "sft": cell.key(sft),
        "labels": cell.key(labels, by=by, part="train"),
        "reference_scores": cell.key(reference_scores, by=by, part="train"),
        "algo": config["feed"]["contrast"],
        "updates": config["budget"]["updates"],
        "responses": config["budget"]["responses"],
        "optimization": config["model"]["optimization"],
        "seed": config["seed"],
    }


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
    from accelerate import Accelerator
    from hydra.utils import instantiate

    from ..models.build import load_policy, parameters
    from ..training.batches import Models
    from ..training.feeds import compared
    from ..training.loop import Optimization, train

    spec, micro = inputs(cell, by), cell.config["model"]["micro_batch"]
    algo, accelerator = instantiate(spec["algo"]), Accelerator()
    policy = accelerator.prepare_model(load_policy(cell.make(sft)))
    checkpoints.mkdir(exist_ok=True)
    name = f"contrast ({by}, {checkpoints.name})"
    with cell.display.stage(name, spec["updates"]) as bar:
        log = train(
            algo,
            compared(algo, taught, spec["responses"], spec["seed"], pad_id, accelerator.device),
            Models(policy=policy),
            Optimization(**spec["optimization"]),
            updates=spec["updates"],
            seed=spec["seed"],
            micro=micro,
            accelerator=accelerator,
            checkpoints=checkpoints,
            bar=bar,
            stage=name,
        ).log
    with cell.display.stage(f"{name}: scores", 2 * len(pairs)) as bar:
        found = {
            side: reference_scores.logps(policy, getattr(pairs, side), pad_id, micro, bar)
            for side in ("chosen", "rejected")
        }
    tokens = sum(row["tokens"] for row in log)
    return found, {"tokens": tokens, "flops": 6.0 * parameters(policy) * tokens}
