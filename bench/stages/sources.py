"""The imperfect rewards that a recipe transfers from: the entries of `feed.transfer.sources`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import labels, reward_model
from .decoding import found, key_of

if TYPE_CHECKING:
    from .cell import Cell


def named(cell: "Cell") -> dict[str, dict[str, Any]]:
    """What they are called (`as`, else `name`) -> how they are described. LookupError where that is not
    enough."""
    every: dict[str, dict[str, Any]] = {}
    for entry in cell.config["feed"]["transfer"]["sources"]:
        spec = dict(entry)
        name = spec.pop("as", spec.get("name"))
        if name is None or name in {*every, "null"}:
            raise LookupError(
                f"feed.transfer.sources: {entry} needs a name of its own: say `as: NAME`"
            )
        every[name] = spec
    return every


def identity(cell: "Cell") -> dict[str, Any]:
    """What determines their rewards, besides how they are described."""
    return {name: reads(cell, spec) for name, spec in named(cell).items()}


def reads(cell: "Cell", spec: Mapping[str, Any]) -> Any:
    match spec:
        case {"_target_": _} | {"name": "rouge"}:
            return None
        case {"name": "bertscore"}:
            return cell.config["metrics"]["bertscore"]
        case {"name": "reward_model", "member": _}:
            return cell.key(reward_model, **choice(cell, spec))
        case {"name": "policy", "of": model}:
            return key_of(found(cell, model))
    raise LookupError(
        f"feed.transfer.sources: {spec}: one of {{name: rouge}}, {{name: bertscore}}, {{name: "
        "reward_model, member: 1, share: 0.1}, {name: policy, of: RUN}, {_target_: YOURS, as: NAME}"
    )


def choice(cell: "Cell", spec: Mapping[str, Any]) -> dict[str, Any]:
    """What to ask of the stage reward_model: a member of its own, of a share of the training pairs."""
    more = {key: x for key, x in spec.items() if key != "name"}
    return {"by": labels.labeller(cell), "part": "train", **more}
