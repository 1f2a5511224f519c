"""The judges that `judge=` named: what they like whatever answers say, and which rows they may rank."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..stats.bootstrap import mean_interval
from .estimates import Answers, Cell, per_prompt
from .record import Record

BY_JUDGE = "win_rate_by_judge"
LIKINGS = {  # metric -> (heading, how it is said)
    "judge/first": ("prefers the first", "takes the first of two answers in {}"),
    "judge/longer": ("prefers the longer", "the longer in {}"),
    "judge/inconsistent": ("inconsistent", "says otherwise when they change places in {}"),
    "judge/agrees": ("agrees with gold", "agrees with gold in {}"),
}
UNREAD = "judge/unread"


@dataclass(frozen=True)
class Judge:
    """What is known of a judge from its verdicts on the methods of a table."""

    name: str
    likings: Mapping[str, Cell]  # shares; `n` counts (run, prompt)
    unread: int  # of its answers, those that could not be read ...
    answers: int  # ... and all of them

    def __str__(self) -> str:
        found = [LIKINGS[name][1].format(said(cell)) for name, cell in self.likings.items()]
        n = max((cell.n or 0 for cell in self.likings.values()), default=0)
        share = self.unread / self.answers if self.answers else 0.0
        return (
            f"The judge {self.name}: {', '.join(found)} ({n:,} prompts, each method's counted); "
            f"{self.unread:,} of its {self.answers:,} answers could not be read ({share:.1%})."
        )


def said(cell: Cell) -> str:
    if cell.low is None:
        return f"{cell.value:.2f}"
    return f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]"


def judges(runs: Sequence[Record], answers: Answers) -> tuple[Judge, ...]:
    """Those who judged the policies among some runs, one a signature. The answers of controls differ
    in length and in quality at once, and would tell little of what a judge likes."""
    found = defaultdict[str, list[Record]](list)
    for run in runs:
        if run.kind == "policy" and (signature := judged_by(run)):
            found[signature].append(run)
    return tuple(judge(name, mine, answers) for name, mine in found.items())


def judged_by(run: Record) -> str | None:
    """The signature of the judge; a run that met it in no readable verdict has none."""
    metric = run.metrics.end.get(BY_JUDGE)
    return metric.signature if metric else None


def judge(name: str, runs: Sequence[Record], answers: Answers) -> Judge:
    likings = {x: cell for x in LIKINGS if (cell := pooled(x, runs, answers))}
    counts = [m for r in runs if (m := r.metrics.end.get(UNREAD)) and m.value is not None and m.n]
    unread = sum(round(m.value * m.n) for m in counts)
    return Judge(name, likings, unread, sum(m.n for m in counts))


def pooled(metric: str, runs: Sequence[Record], answers: Answers) -> Cell | None:
    """The mean over all prompts of all runs; where all have files, with bounds clustered by prompt."""
    having = [r for r in runs if (m := r.metrics.end.get(metric)) and m.value is not None and m.n]
    if not having:
        return None
    each = [per_prompt(metric, r, answers) for r in having]
    if all(each):
        values = np.concatenate([x.values for x in each])
        prompts = np.array([p for x in each for p in x.prompts], dtype=object)
        there = ~np.isnan(values)
        mean = mean_interval(values[there], clusters=list(prompts[there]))
        bounds = (None, None) if np.isnan(mean.low) else (mean.low, mean.high)
        return Cell(mean.value, *bounds, mean.n, "prompts")
    metrics = [r.metrics.end[metric] for r in having]
    n = sum(m.n for m in metrics)
    return Cell(sum(m.value * m.n for m in metrics) / n, n=n)


def one_judge(runs: Sequence[Record]) -> bool:
    """All policies were judged, and by one judge: its verdicts may rank them."""
    found = {judged_by(r) for r in runs if r.kind == "policy"}
    return len(found) == 1 and None not in found


def trained_on_judge(run: Record) -> bool:
    """The labeller that a policy was trained on is the judge; controls carry the settings of a policy."""
    others = run.parents.others
    return run.kind == "policy" and "judge" in others and others["judge"] == others.get("labeller")


def notes(runs: Sequence[Record], found: Sequence[Judge]) -> Iterator[str]:
    """What must be said with verdicts."""
    yield from map(str, found)
    if taught := sorted({r.recipe for r in runs if trained_on_judge(r)}):
        yield (
            f"Trained on what their judge says: {', '.join(taught)}. Wins by it say nothing of them, and "
            "do not rank them."
        )
