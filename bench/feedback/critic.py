"""A critic and reviser that is a program: it finds faults by a task's exact reward, and errs."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..tasks.example import Task
from .chance import chance
from .constitution import Request

NOTHING = "nothing"


@dataclass(frozen=True)
class SimulatedCritic:
    """A critique names the part of the principle in which an answer falls furthest short of the
    reference, or NOTHING; with probability `error_rate` it is NOTHING whatever the answer. A revision
    mends the part that the critique names, as the task does."""

    task: Task
    error_rate: float = 0.1
    seed: int = 1

    def __call__(self, requests: Sequence[Request]) -> list[str]:
        """Of answers the critique, of criticised answers the revision."""
        return [self.critique(r) if r.critique is None else self.revision(r) for r in requests]

    def critique(self, request: Request) -> str:
        """The name of a part."""
        if chance(self.seed, request.text).random() < self.error_rate:
            return NOTHING
        example, parts = request.example, request.principle.parts
        said = self.task.gold(example, request.answer, True)
        best = self.task.gold(example, example.references[0], True)
        short = {name: best[name] - said[name] for name in parts if name in best}
        worst = max(short, key=short.__getitem__)
        return worst if short[worst] > 1e-9 else NOTHING

    def revision(self, request: Request) -> str:
        """The answer without the fault."""
        if request.critique == NOTHING:
            return request.answer
        return self.task.repair(request.example, request.answer, request.critique)

    def qualities(self, requests: Sequence[Request]) -> list[float]:
        """What each answer earns in the parts of its principle."""
        found = []
        for r in requests:
            parts = self.task.gold(r.example, r.answer, True)
            found.append(sum(parts[name] for name in r.principle.parts if name in parts))
        return found
