"""How the answers of a cell are decoded, and what keys and records say of it.

`decoding.tuned` and `decoding.untuned` name models: a run id, a folder or a hub id.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..names import Unknown
from ..reports import record as records
from ..store import MANIFEST, Store
from .answer import policy_of

if TYPE_CHECKING:
    from ..models.sampling import Decoding
    from .cell import Cell


def decoding_of(cell: "Cell") -> "Decoding":
    """What the sampler reads."""
    from ..models.sampling import Decoding

    return Decoding(**section(cell, str), max_new_tokens=cell.config["task"]["response_tokens"])


def decoding_key(cell: "Cell") -> dict[str, Any]:
    """What determines the answers: a model that a store made is its key, wherever the store lies."""
    return section(cell, key_of)


def section(cell: "Cell", name: Callable[[str], str]) -> dict[str, Any]:
    """`decoding`, its models found, and named so."""
    config = dict(cell.config["decoding"])
    if "tuned" not in config:
        return config
    if not config["tuned"]:
        raise Unknown("decoding.tuned is missing: name a run, a folder or a hub id")
    tuned = found(cell, config["tuned"])
    untuned = found(cell, config["untuned"]) if config["untuned"] else parent(tuned)
    return config | {"tuned": name(tuned), "untuned": name(untuned)}


def found(cell: "Cell", name: str) -> str:
    """The folder of a run's policy; a folder or a hub id is what it is."""
    folder = Path(cell.config["runs"]) / "records"
    path = folder / f"{name}.json"
    if path.exists():
        return policy_of(records.read(path))
    if not Path(name).is_dir() and "/" not in name:
        raise Unknown(f"{name!r} is neither a run of {folder} nor a folder nor a hub id")
    return name


def artifact(model: str) -> Path | None:
    """The artifact of a store that a folder is, or lies in."""
    path = Path(model)
    return next((p for p in (path, path.parent) if (p / MANIFEST).exists()), None)


def key_of(model: str) -> str:
    made = artifact(model)
    return str(Path(model).relative_to(made.parent)) if made else model


def parent(model: str) -> str:
    """The SFT model that a policy of a store started from."""
    made = artifact(model)
    reads = Store(made.parent).manifest(made.name)["inputs"]["reads"] if made else {}
    if "sft" not in reads:
        raise Unknown(f"what {model} was tuned from is not known: set decoding.untuned")
    return str(made.parent / reads["sft"])
