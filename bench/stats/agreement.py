"""How well judges agree with people, people with each other, and what it takes to tell two judges apart.

A judge sides with the first answer of a case (margin above 0), with the second, or with neither.
McNemar, Psychometrika 12, 1947, with the mid-p of Fagerland, Lydersen & Laake, BMC Medical Research
Methodology 13, 2013 (the exact test of the cases on which one of two is right rejects too rarely);
Connor, Biometrics 43, 1987, eq. 1 (cases that such a test needs, in large samples).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, norm

from .bootstrap import Interval, mean_interval

Array = NDArray[np.float64]


def right(margins: ArrayLike, firsts: ArrayLike) -> Array:
    """1, ½ or 0 a case: whether the judge sides with the answer that people prefer; `firsts` is the share
    of people for the first, and a case on which they are even is NaN, as is one that was not judged."""
    margins, firsts = np.asarray(margins, dtype=np.float64), np.asarray(firsts, dtype=np.float64)
    found = (1 + np.sign(margins) * np.sign(firsts - 0.5)) / 2
    return np.where(firsts == 0.5, np.nan, found)


def mcnemar(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Two-sided mid-p-value that two judges are right equally often, from the cases where one is more
    right than the other: that of the binomial test, less the probability of what was seen; 1 where both
    win as many."""
    gaps = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    won, lost = int((gaps > 0).sum()), int((gaps < 0).sum())
    if won == lost:
        return 1.0
    of = binom(won + lost, 0.5)
    return float(2 * of.cdf(min(won, lost)) - of.pmf(min(won, lost)))


def cases_to_decide(
    ours: ArrayLike, theirs: ArrayLike, level: float = 0.95, power: float = 0.8
) -> float:
    """How many cases in all would tell two judges apart that differ as these do: infinite where they
    are right equally often.

    n = [z √ψ + z′ √(ψ − δ²)]² / δ², ψ the share of cases on which they differ, δ the mean difference.
    """
    gaps = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    apart, gap = float((gaps**2).mean()), abs(float(gaps.mean()))
    if gap == 0:
        return np.inf
    z, other = norm.ppf((1 + level) / 2), norm.ppf(power)
    return float((z * apart**0.5 + other * max(apart - gap**2, 0.0) ** 0.5) ** 2 / gap**2)


def among_themselves(votes: Sequence[tuple[int, int]]) -> Interval:
    """How often two people who labelled the same case agree, a mean over cases, from the votes for the
    first and for the second answer of each; cases of one vote say nothing. Chance is ½, as which answer
    comes first means nothing."""
    several = np.array([v for v in votes if sum(v) > 1], dtype=np.float64).reshape(-1, 2)
    total = several.sum(1)
    return mean_interval((several * (several - 1)).sum(1) / (total * (total - 1)))
