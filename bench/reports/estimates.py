"""The numbers of a row: its metrics with 95 % intervals, and its differences to the SFT model.

Where every seed has per-prompt values the interval is that of `stats.crossed`: prompts and seeds both
stand for others. Without per-prompt files the half-width h is √(mean h_s² + (t s/√S)²): h_s are the
half-widths of the seeds, s the spread of their values, t Student's 97.5 % quantile. Prompts are shared
by the seeds, so their part does not shrink with S.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtrit

from ..stats.bootstrap import (
    FLIPS,
    Vector,
    interquartile_interval,
    interquartile_mean,
    sign_flip,
)
from ..stats.crossed import LEVEL, cautious_p, crossed_mean
from .record import Metric, Record

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Table

PER_PROMPT = {"win_rate": "win", "end_rate": "finished"}  # metric -> column, where names differ
BUDGET = ("updates", "responses", "pairs", "prompts", "tokens")
SEED = 0

Verdict = Literal["yes", "worse", "unclear"]


@dataclass(frozen=True, eq=False)
class Scores:
    """One metric of a run: a value a prompt, NaN where there is none, and their mean."""

    prompts: tuple[str, ...]
    values: Vector
    mean: float


@dataclass(frozen=True, eq=False)
class Block:
    """All that a run's file says of the prompts of a split: Float[K, P], NaN where there is nothing."""

    prompts: tuple[str, ...]
    values: np.ndarray
    place: Mapping[str, int]  # column -> index; of columns with a value
    means: Sequence[float]

    def scores(self, column: str) -> Scores:
        at = self.place[column]
        return Scores(self.prompts, self.values[at], self.means[at])


Frames = Mapping[str, "DataFrame | Table"]  # run id -> per-prompt table


class Answers(Mapping[str, Mapping[str, Block]]):
    """Run id -> `by_prompt` of its table, worked out when it is asked for first."""

    def __init__(self, frames: Frames):
        self.frames = frames
        self.found: dict[str, Mapping[str, Block]] = {}

    def __getitem__(self, run_id: str) -> Mapping[str, Block]:
        if run_id not in self.found:
            self.found[run_id] = by_prompt(self.frames[run_id])
        return self.found[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Cell:
    """An estimate and its 95 % bounds, over `n` items; `how` says where the bounds come from."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    how: Literal["recorded", "prompts", "prompts x seeds", "combined", "seeds", ""] = ""


@dataclass(frozen=True)
class Versus:
    """Mean difference to the SFT model of the same seed, over the same prompts."""

    seed: int
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Whether SFT is beaten: the interval lies above 0, below 0, or around it."""
        return "yes" if self.low > 0 else "worse" if self.high < 0 else "unclear"


@dataclass(frozen=True)
class Overall:
    """Mean difference to the SFT models over all seeds and prompts.

    `p_value` is `stats.crossed.cautious_p`, of one seed that of a sign-flip test over prompts.
    `adjusted` is it after Benjamini and Hochberg's correction over the methods of a table.
    """

    difference: float
    low: float
    high: float
    error: float
    dof: float
    p_value: float
    adjusted: float

    @property
    def verdict(self) -> Verdict:
        if self.adjusted > 1 - LEVEL:
            return "unclear"
        return "yes" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class Numbers:
    """Of a row, all that takes long: its cells, and its differences to SFT by seed and over all."""

    cells: Mapping[str, Cell]
    versus_sft: tuple[Versus, ...] = ()
    overall: Overall | None = None


# (runs of a row, SFT models by seed, metric that ranks, what makes the numbers) -> the numbers
Remember = Callable[
    [Sequence[Record], Mapping[int, Record], str | None, Callable[[], Numbers]], Numbers
]


def made_anew(
    runs: Sequence[Record],
    sft: Mapping[int, Record],
    signal: str | None,
    make: Callable[[], Numbers],
) -> Numbers:
    """Nothing is remembered."""
    return make()


def numbers(
    runs: Sequence[Record], sft: Mapping[int, Record], signal: str | None, answers: Answers
) -> Numbers:
    """Of the runs of a row; without a metric that ranks there are no differences."""
    apart = list(pairs(runs, sft, signal, answers)) if signal else []
    control = runs[0].kind == "control"
    return Numbers(cells(runs, answers), tuple(versus(apart)), None if control else overall(apart))


def by_prompt(frame: "DataFrame | Table") -> dict[str, Block]:
    """Split -> scores by prompt, the mean where a prompt has several samples."""
    from pyarrow import Table, types

    table = frame if isinstance(frame, Table) else Table.from_pandas(frame, preserve_index=False)
    columns = {
        field.name: table[field.name].to_numpy()
        for field in table.schema
        if types.is_boolean(field.type)
        or types.is_integer(field.type)
        or types.is_floating(field.type)
    }
    numbers = np.array([*columns.values()], dtype=float).reshape(len(columns), len(table))
    ids, splits = (table[x].to_numpy(zero_copy_only=False) for x in ("prompt_id", "split"))
    found: dict[str, Block] = {}
    for split in dict.fromkeys(splits):
        rows = splits == split
        prompts, values = tuple(ids[rows]), numbers[:, rows]
        if len(set(prompts)) < len(prompts):
            prompts, values = averaged(prompts, values)
        there = ~np.isnan(values)
        counts = there.sum(1)
        means = np.where(there, values, 0).sum(1) / np.maximum(counts, 1)
        place = {name: at for at, name in enumerate(columns) if counts[at]}
        found[split] = Block(one_of(prompts), values, place, means.tolist())
    return found


@lru_cache(maxsize=256)
def one_of(prompts: tuple[str, ...]) -> tuple[str, ...]:
    """One object for all that are equal: thousands of files answer the same prompts, and are compared."""
    return prompts


def averaged(prompts: Sequence[str], values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """One column a prompt: the mean of its samples, those without a value left out."""
    order = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    place = np.array([order[prompt] for prompt in prompts])
    there = ~np.isnan(values)
    sums, counts = np.zeros((2, len(values), len(order)))
    np.add.at(sums.T, place, np.where(there, values, 0).T)
    np.add.at(counts.T, place, there.T)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return tuple(order), means


def per_prompt(metric: str, record: Record, answers: Answers) -> Scores | None:
    """The scores in a run's file, where they explain the recorded value of a metric."""
    file, recorded = answers.get(record.run_id), record.metrics.end.get(metric)
    if file is None or recorded is None or recorded.value is None:
        return None
    scores = scores_of(metric, file)
    return scores if scores and explains(scores.mean, recorded.value) else None


def scores_of(metric: str, file: Mapping[str, Block]) -> Scores | None:
    """What a file says of a metric."""
    for split, column in sources(metric):
        if split in file and column in file[split].place:
            return file[split].scores(column)
    return None


@cache
def sources(metric: str) -> tuple[tuple[str, str], ...]:
    """The splits and columns that may hold a metric: `gold_unseen` is gold on the split test_unseen,
    plain names are the split test."""
    stem, _, suffix = metric.rpartition("_")
    return (
        ("test", PER_PROMPT.get(metric, metric)),
        (f"test_{suffix}", PER_PROMPT.get(stem, stem)),
    )


def explains(mean: float, value: float) -> bool:
    """The mean of scores is the recorded value; published scores may have four digits."""
    return math.isclose(mean, value, rel_tol=1e-3, abs_tol=1e-3)


def aligned(runs: Sequence[Scores]) -> tuple[tuple[str, ...], np.ndarray]:
    """The prompts for which all runs have a value, and the values: Float[S, P]."""
    first = runs[0].prompts
    if all(run.prompts == first for run in runs):
        values = np.stack([run.values for run in runs])
    else:
        place = {prompt: i for i, prompt in enumerate(first)}
        values = np.full((len(runs), len(first)), np.nan)
        for row, run in zip(values, runs, strict=True):
            for prompt, value in zip(run.prompts, run.values, strict=True):
                if prompt in place:
                    row[place[prompt]] = value
    there = ~np.isnan(values).any(0)
    if there.all():
        return first, values
    return tuple(p for p, kept in zip(first, there, strict=True) if kept), values[:, there]


def cells(runs: Sequence[Record], answers: Answers) -> dict[str, Cell]:
    """Every metric of a row that exists, and what is no metric but a column."""
    found: dict[str, Cell] = {}
    several: dict[str, list[Record]] = {}  # metric -> the seeds that have it
    for name in sorted(set().union(*(r.metrics.end for r in runs))):
        having = [r for r in runs if (m := r.metrics.end.get(name)) and m.value is not None]
        if len(having) == 1:
            scores = per_prompt(name, having[0], answers)
            found[name] = single(having[0].metrics.end[name], scores)
        elif having:
            several[name] = having
    bounds = dict(crossed_bounds(several, answers))
    for name, having in several.items():
        metrics = [r.metrics.end[name] for r in having]
        if name in bounds:
            value = sum(m.value for m in metrics) / len(metrics)
            found[name] = Cell(value, *bounds[name], metrics[0].n, "prompts x seeds")
        else:
            found[name] = combined(metrics)
    if len(runs) > 3 and "gold" in found:
        found["gold_iqm"] = middle("gold", runs, answers)
    return found | beside(runs)


def crossed_bounds(
    several: Mapping[str, Sequence[Record]], answers: Answers
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Bounds over seeds and prompts, of the metrics whose seeds all have per-prompt values.

    Metrics of the same runs, prompts and split are worked out together.
    """
    alike = defaultdict[tuple[int, int], dict[str, np.ndarray]](dict)
    for name, having in several.items():
        each = [per_prompt(name, r, answers) for r in having]
        if all(each) and (values := aligned(each)[1]).shape[1] > 1:
            alike[values.shape][name] = values
    for group in alike.values():
        bounds = crossed_mean(np.stack([*group.values()])).bounds()
        yield from zip(group, zip(*(x.tolist() for x in bounds), strict=True), strict=True)


def combined(metrics: Sequence[Metric]) -> Cell:
    """Several seeds without per-prompt files."""
    size, n = len(metrics), metrics[0].n
    value = sum(m.value for m in metrics) / size
    spread = math.sqrt(sum((m.value - value) ** 2 for m in metrics) / (size - 1))
    between = float(stdtrit(size - 1, 0.975)) * spread / math.sqrt(size)
    within = [(m.high - m.low) / 2 for m in metrics if m.low is not None]
    if len(within) < size:
        return Cell(value, value - between, value + between, n, "seeds")
    half = math.sqrt(sum(h * h for h in within) / size + between**2)
    return Cell(value, value - half, value + half, n, "combined")


def single(metric: Metric, scores: Scores | None) -> Cell:
    """One seed: the interval of the record; where it has none, over the prompts."""
    if metric.low is not None:
        return Cell(metric.value, metric.low, metric.high, metric.n, "recorded")
    if scores and np.count_nonzero(~np.isnan(scores.values)) > 1:
        low, high = crossed_mean(aligned([scores])[1]).bounds()
        return Cell(metric.value, float(low), float(high), metric.n, "prompts")
    return Cell(metric.value, n=metric.n)


def middle(metric: str, runs: Sequence[Record], answers: Answers) -> Cell:
    """The interquartile mean over seeds, with bounds where all of them have per-prompt values."""
    each = [per_prompt(metric, r, answers) for r in runs]
    if all(each) and len(prompts := aligned(each)[0]) > 1:
        found = interquartile_interval(aligned(each)[1], seed=SEED)
        return Cell(found.value, found.low, found.high, len(prompts), "prompts x seeds")
    values = [m.value for r in runs if (m := r.metrics.end.get(metric)) and m.value is not None]
    return Cell(float(interquartile_mean(values)))


def beside(runs: Sequence[Record]) -> dict[str, Cell]:
    """Gold at the peak, what a seed of the row took, and how many settings were tried before."""
    found: dict[str, Cell] = {}
    peaks = [m for r in runs if (m := r.metrics.peak.get("gold")) and m.value is not None]
    if peaks:
        found["gold_peak"] = Cell(fmean(m.value for m in peaks), n=peaks[0].n)
    policies = [r for r in runs if r.kind == "policy"]
    for name in BUDGET:
        spent = [x for r in policies if (x := getattr(r.budget, name)) is not None]
        if spent:
            found[name] = Cell(fmean(spent))
    if flops := [r.budget.flops for r in policies if r.budget.flops is not None]:
        found["teraflops"] = Cell(fmean(flops) / 1e12)
    if spent := [r.seconds["training"] for r in runs if "training" in r.seconds]:
        found["seconds"] = Cell(fmean(spent))
    if policies:
        found["tried"] = Cell(max(tried(r) for r in policies))
    return found


def tried(run: Record) -> int:
    """Settings that were compared on validation: the rates in the command of `prefzoo tune`."""
    command = str(run.config.get("tuned") or "")
    rates = [word for word in command.split() if word.startswith("lr=")]
    return len(rates[0].split(",")) if rates else 1


# ------------------------------------------------------------------------ against the SFT model


def pairs(
    runs: Sequence[Record], others: Mapping[int, Record], metric: str, answers: Answers
) -> Iterator[tuple[int, Scores]]:
    """(seed, this run less the other of its seed) over the prompts that both answered."""
    for run in runs:
        if run.seed not in others or others[run.seed] is run:
            continue
        both = [per_prompt(metric, r, answers) for r in (run, others[run.seed])]
        if all(both):
            prompts, (a, b) = aligned(both)
            if len(prompts) > 1:
                yield run.seed, Scores(prompts, a - b, float((a - b).mean()))


def versus(found: Sequence[tuple[int, Scores]]) -> Iterator[Versus]:
    """The difference of each seed, which says nothing of other seeds."""
    for seed, scores in found:
        low, high = crossed_mean(scores.values[None]).bounds()
        yield Versus(seed, scores.mean, float(low), float(high))


def overall(found: Sequence[tuple[int, Scores]]) -> Overall | None:
    """The difference over all seeds; not yet corrected for the other rows of its table."""
    if not found:
        return None
    _, values = aligned([scores for _, scores in found])
    if values.shape[1] < 2:
        return None
    mean = crossed_mean(values)
    seeds = len(values)
    p = float(cautious_p(mean, seeds) if seeds > 1 else sign_flip(values[0], FLIPS, SEED))
    low, high = mean.bounds()
    numbers = (mean.value, low, high, mean.error, mean.dof)
    return Overall(*map(float, numbers), p_value=p, adjusted=p)
