"""The reward models that a recipe trains: one, or the members of `feedback.ensemble`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..feedback.answer import Answer
from ..tasks.example import Example
from . import labels, reward_model

if TYPE_CHECKING:
    from ..feedback.ensemble import Ensemble
    from .cell import Cell


def combination(cell: "Cell") -> "Ensemble":
    """How what they say becomes one reward."""
    from ..feedback.ensemble import Ensemble

    return Ensemble(**cell.config["feedback"].get("ensemble", {}))


def members(cell: "Cell", name: str = "reward_model") -> dict[str, dict[str, Any]]:
    """name, or name/1, name/2, ... -> what to ask of the stage reward_model."""
    one = {"by": labels.labeller(cell), "part": "train"}
    if "ensemble" not in cell.config["feedback"]:
        return {name: one}
    count = combination(cell).members
    return {f"{name}/{i}": {**one, "member": i} for i in range(1, count + 1)}


def identity(cell: "Cell") -> Any:
    """What determines the reward: the key of the one model, or those of all and their combination."""
    keys = [cell.key(reward_model, **x) for x in members(cell).values()]
    together = cell.config["feedback"].get("ensemble")
    return keys[0] if together is None else {**together, "members": keys}


def rewards(cell: "Cell", examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
    """What rollouts with these answers would be rewarded with, before any penalty."""
    each = [
        reward_model.rewards(cell, examples=examples, answers=answers, **x)
        for x in members(cell).values()
    ]
    return combination(cell)(each)


def signature(cell: "Cell") -> str:
    """How that reward was computed, in one line."""
    by, together = labels.labeller(cell), combination(cell)
    if "ensemble" not in cell.config["feedback"]:
        return f"reward model on the training pairs ({by} labels), SFT samples have mean 0 and sd 1"
    return (
        f"{together.combine} (coef {together.coef}, ddof {together.ddof}) of {together.members} "
        f"reward models on resamples of the training pairs ({by} labels), each normalized"
    )
