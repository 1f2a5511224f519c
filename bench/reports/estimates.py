"""The numbers of a row: its metrics with 95 % intervals, and its differences to the SFT model.

The interval of a row with S seeds: prompts and seeds are drawn anew, independently (2000 times),
from the per-prompt values; the seeds' means are first spread by √(S/(S−1)), because resamples of S
seeds vary too little. Without per-prompt files the half-width h is √(mean h_s² + (t s/√S)²): h_s
are the half-widths of the seeds, s the spread of their values, t Student's 97.5 % quantile. Prompts
are shared by the seeds, so their part does not shrink with S.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtrit

from ..stats.bootstrap import mean_interval, paired_difference
from .record import Metric, Record

if TYPE_CHECKING:
    from pandas import DataFrame

Frames = Mapping[str, "DataFrame"]  # run id -> per-prompt table
Answers = Mapping[str, Mapping[tuple[str, str], Mapping[str, float]]]  # run id -> by_prompt

PER_PROMPT = {"win_rate": "win", "end_rate": "finished"}  # metric -> column, where names differ
SEED = 0
RESAMPLES = 2000


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
    p_value: float

    @property
    def verdict(self) -> Literal["yes", "worse", "unclear"]:
        """Whether SFT is beaten: the interval lies above 0, below 0, or around it."""
        return "yes" if self.low > 0 else "worse" if self.high < 0 else "unclear"


def by_prompt(frame: "DataFrame") -> dict[tuple[str, str], dict[str, float]]:
    """(split, column) -> prompt -> value, the mean where a prompt has several samples."""
    prompts, splits = (frame[name].astype(str).tolist() for name in ("prompt_id", "split"))
    found: dict[tuple[str, str], dict[str, float]] = {}
    for column in frame.select_dtypes(["number", "bool"]):
        sums = defaultdict[tuple[str, str], list[float]](list)
        for split, prompt, value in zip(splits, prompts, frame[column].tolist(), strict=True):
            if value is not None and value == value:  # there, and not NaN
                sums[split, prompt].append(float(value))
        for (split, prompt), values in sums.items():
            found.setdefault((split, column), {})[prompt] = fmean(values)
    return found


def per_prompt(metric: str, record: Record, answers: Answers) -> Mapping[str, float] | None:
    """Prompt -> value, where the run's file holds a metric and explains its recorded value.

    `gold_unseen` is the column gold on the split test_unseen; plain names are the split test.
    """
    file, recorded = answers.get(record.run_id), record.metrics.end.get(metric)
    if file is None or recorded is None or recorded.value is None:
        return None
    stem, _, suffix = metric.rpartition("_")
    values = file.get(("test", PER_PROMPT.get(metric, metric))) or file.get(
        (f"test_{suffix}", PER_PROMPT.get(stem, stem))
    )
    if not values:
        return None
    explained = math.isclose(fmean(values.values()), recorded.value, rel_tol=1e-3, abs_tol=1e-3)
    return values if explained else None


@lru_cache(maxsize=8)
def counts(n: int, stream: int) -> np.ndarray:
    """How often each of n units is drawn, in each resample."""
    generator = np.random.default_rng([SEED, stream])
    return generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)


def crossed_interval(by_seed: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Bounds of the mean over seeds and prompts, both drawn anew (see the head of this file)."""
    prompts = sorted(set().union(*by_seed))
    values = np.array([[run.get(p, np.nan) for p in prompts] for run in by_seed])
    there = ~np.isnan(values)
    seeds = len(by_seed)
    means = np.nanmean(values, axis=1, keepdims=True)
    values = values + (means - means.mean()) * (math.sqrt(seeds / (seeds - 1)) - 1)
    on_prompts, on_seeds = counts(len(prompts), 1), counts(seeds, 2)
    sums = ((on_prompts @ np.where(there, values, 0).T) * on_seeds).sum(1)
    weights = np.full(RESAMPLES, float(there.size))
    if not there.all():
        weights = ((on_prompts @ there.T.astype(float)) * on_seeds).sum(1)
        sums, weights = sums[weights > 0], weights[weights > 0]
    low, high = np.quantile(sums / weights, [0.025, 0.975])
    return float(low), float(high)


def estimate(metric: str, runs: Sequence[Record], answers: Answers) -> Cell | None:
    """A metric of a row: mean over the seeds that have it, with the best interval there is."""
    having = [(r, m) for r in runs if (m := r.metrics.end.get(metric)) and m.value is not None]
    if not having:
        return None
    metrics = [m for _, m in having]
    each = [per_prompt(metric, r, answers) for r, _ in having]
    n = metrics[0].n
    if len(having) == 1:
        return single(metrics[0], each[0])
    value = fmean(m.value for m in metrics)
    if all(each):
        return Cell(value, *crossed_interval(each), n, "prompts x seeds")
    between = float(stdtrit(len(metrics) - 1, 0.975)) * stdev(m.value for m in metrics)
    between /= math.sqrt(len(metrics))
    within = [(m.high - m.low) / 2 for m in metrics if m.low is not None]
    if len(within) < len(metrics):
        return Cell(value, value - between, value + between, n, "seeds")
    half = math.sqrt(fmean(h * h for h in within) + between**2)
    return Cell(value, value - half, value + half, n, "combined")


def single(metric: Metric, values: Mapping[str, float] | None) -> Cell:
    """One seed: the interval of the record; where it has none, over the prompts."""
    if metric.low is not None:
        return Cell(metric.value, metric.low, metric.high, metric.n, "recorded")
    if values and len(values) > 1:
        found = mean_interval(list(values.values()), seed=SEED)
        return Cell(metric.value, found.low, found.high, metric.n, "prompts")
    return Cell(metric.value, n=metric.n)


def versus(
    runs: Sequence[Record], sft: Mapping[int, Record], signal: str, answers: Answers
) -> Iterator[Versus]:
    """Per seed, the difference to the SFT model over the prompts that both answered."""
    for run in runs:
        if run.seed not in sft or sft[run.seed] is run:
            continue
        ours = per_prompt(signal, run, answers)
        theirs = per_prompt(signal, sft[run.seed], answers)
        both = sorted((ours or {}).keys() & (theirs or {}).keys())
        if len(both) > 1:
            a, b = ([values[p] for p in both] for values in (ours, theirs))
            found = paired_difference(a, b, seed=SEED)
            yield Versus(run.seed, found.difference, found.low, found.high, found.p_value)


def cells(runs: Sequence[Record], answers: Answers) -> dict[str, Cell]:
    """Every metric of a row that exists, and what is no metric but a column."""
    wanted = sorted(set().union(*(r.metrics.end for r in runs)))
    found = {name: cell for name in wanted if (cell := estimate(name, runs, answers))}
    peaks = [m for r in runs if (m := r.metrics.peak.get("gold")) and m.value is not None]
    if peaks:
        found["gold_peak"] = Cell(fmean(m.value for m in peaks), n=peaks[0].n)
    spent = [r.seconds["training"] for r in runs if "training" in r.seconds]
    if spent:
        found["seconds"] = Cell(fmean(spent))
    return found
