"""One cell of a study: a resolved configuration, and the artifacts that it needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..store import Store, content_hash
from ..tasks.example import Example, Task
from ..training.progress import Display
from ..training.timing import ELSEWHERE, phase

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from ..models.computing import Computing


@cache
def load_task(spec: str) -> Task:
    """Once a process, however many cells share it. `spec` is the task's `load` section as JSON."""
    from hydra.utils import instantiate

    return instantiate(json.loads(spec))


@dataclass
class Cell:
    """Stages ask it for their configuration and their parents."""

    config: Mapping[str, Any]
    store: Store
    display: Display = field(default_factory=Display)
    seconds: dict[str, float] = field(default_factory=dict)  # a stage: what making it took, once
    _keys: dict[str, str] = field(default_factory=dict)

    @cached_property
    def task(self) -> Task:
        return load_task(json.dumps(self.config["task"]["load"], sort_keys=True))

    @property
    def data(self) -> dict[str, Any]:
        """What identifies the task's rows among the inputs of an artifact."""
        return {"task": self.task.name, "version": self.task.version, "hash": self.task.data_hash}

    @property
    def computing(self) -> "Computing":
        """How its models compute while they learn."""
        from ..models.computing import Computing

        return Computing.of(self.config["model"])

    def accelerator(self, **how: Any) -> "Accelerator":
        """On its device; `how` goes to accelerate."""
        from ..models.computing import accelerator

        return accelerator(self.config.get("device", "auto"), **how)

    @property
    def device(self) -> "torch.device":
        """Where its models compute."""
        return self.accelerator().device

    def shared(self, amount: int) -> int:
        """So much of it the budget grants to the stages that all runs share; at least one."""
        return max(1, round(self.config["budget"]["shared"] * amount))

    def inputs(self, stage: ModuleType, **choice: Any) -> dict[str, Any]:
        """All that determines an artifact."""
        return {"version": stage.VERSION, "choice": choice, "reads": stage.inputs(self, **choice)}

    def key(self, stage: ModuleType, **choice: Any) -> str:
        """Known before anything is made."""
        memo = stage.__name__ + content_hash(choice)
        if memo not in self._keys:
            self._keys[memo] = self.store.key(name_of(stage), self.inputs(stage, **choice))
        return self._keys[memo]

    def make(self, stage: ModuleType, **choice: Any) -> Path:
        """The folder of an artifact, made now unless it is there."""
        key = self.key(stage, **choice)
        with phase(ELSEWHERE):  # what a stage is made of is no cost of its own
            path = self.store.make(
                key,
                self.inputs(stage, **choice),
                lambda folder, checkpoints: stage.build(self, folder, checkpoints, **choice),
                on_wait=lambda key: self.display.say(f"another process is making {key}: waiting"),
            )
        self.seconds[title(stage, choice)] = self.store.manifest(key)["seconds"]
        return path

    def notes(self, stage: ModuleType, **choice: Any) -> Any:
        """What the stage reported when it was made."""
        self.make(stage, **choice)
        return self.store.manifest(self.key(stage, **choice))["notes"]

    def examples(self, split: str) -> list[Example]:
        """The rows of a split that fit into the model's context, in their order."""
        from . import lengths

        kept = json.loads((self.make(lengths) / "kept.json").read_text())[split]
        rows = {x.id: x for x in self.task.splits[split]}
        return [rows[i] for i in kept]


def name_of(stage: ModuleType) -> str:
    return stage.__name__.rpartition(".")[2]


def title(stage: ModuleType, choice: Mapping[str, Any]) -> str:
    """As shown to people: `reward_model (dataset, train)`."""
    words = ", ".join(str(x) for x in choice.values())
    return f"{name_of(stage)} ({words})" if words else name_of(stage)
