"""Where the time of a stage goes, and its memory, by phase.

    with watched() as spent:
        with phase("rollout"):
            ...

A phase within another takes its time out of that one, so that all add up to the whole; what no phase
names is `other`. Where nobody watches, a phase costs and says nothing. Seconds are the host's: a GPU
works behind it, and what was queued is charged to the phase that waits.
"""

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import psutil

OTHER = "other"
ELSEWHERE = "elsewhere"  # a phase that is left out: other stages', that this one is made of
PROCESS = psutil.Process()
UNIT = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is bytes there, else KiB


def memory() -> tuple[float, float]:
    """Now, and the most so far, in MiB: what tensors take on the GPU, or without one the resident memory
    of the process."""
    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.memory_allocated() / 2**20, torch.cuda.max_memory_allocated() / 2**20
    now = PROCESS.memory_info().rss / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNIT
    return now, max(now, most)  # the kernel counts the second less often


@dataclass
class Spent:
    """By phase: seconds, and the most memory that it is known to have taken: what the process ever took
    where the phase went beyond that, else what was taken when it ended."""

    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    _running: list[str] = field(default_factory=lambda: [OTHER], repr=False)
    _since: float = field(default_factory=lambda: time.perf_counter(), repr=False)
    _most: float = field(default_factory=lambda: memory()[1], repr=False)

    def turn(self) -> None:
        """Charges what passed since the last turn to the innermost phase."""
        now, name = time.perf_counter(), self._running[-1]
        taken, most = memory()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        taken = most if most > self._most else taken
        self.memory_mb[name] = max(self.memory_mb.get(name, 0.0), taken)
        self._since, self._most = now, most

    def add(self, other: Mapping[str, Mapping[str, float]]) -> None:
        """What was spent elsewhere, as `fields` tells it, on the same work."""
        for name, seconds in other.get("seconds", {}).items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        for name, taken in other.get("memory_mb", {}).items():
            self.memory_mb[name] = max(self.memory_mb.get(name, 0.0), taken)

    @property
    def fields(self) -> dict[str, dict[str, float]]:
        """As manifests and checkpoints have it."""
        return {
            what: {name: round(x, 4) for name, x in found.items() if name != ELSEWHERE}
            for what, found in (("seconds", self.seconds), ("memory_mb", self.memory_mb))
        }

    def __str__(self) -> str:
        """backward 61%, scoring 22%, ...: what took a twentieth or more."""
        total = sum(self.seconds.values())
        most = sorted(self.seconds.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {x / total:.0%}" for name, x in most if x >= total / 20 > 0)


WATCHING: ContextVar[Spent | None] = ContextVar("watching", default=None)


@contextmanager
def watched() -> Iterator[Spent]:
    """What happens meanwhile is charged to phases."""
    spent = Spent()
    before = WATCHING.set(spent)
    try:
        yield spent
    finally:
        spent.turn()
        WATCHING.reset(before)


@contextmanager
def phase(name: str) -> Iterator[None]:
    if (spent := WATCHING.get()) is None:
        yield
        return
    spent.turn()
    spent._running.append(name)
    try:
        yield
    finally:
        spent.turn()
        spent._running.pop()
