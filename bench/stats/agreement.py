"""How well judges agree with people, people with each other, and what it takes to tell two judges apart.

Judges that score answers are set against ratings of several answers to each of some documents: Kendall's
τ_b (Biometrika 33, 1945), within a document or of all answers at once, and how often the one of two
answers to a document that people rated higher is scored higher. Documents are what intervals draw anew.

A judge sides with the first answer of a case (margin above 0), with the second, or with neither.
McNemar, Psychometrika 12, 1947, with the mid-p of Fagerland, Lydersen & Laake, BMC Medical Research
Methodology 13, 2013 (the exact test of the cases on which one of two is right rejects too rarely);
Connor, Biometrics 43, 1987, eq. 1 (cases that such a test needs, in large samples).
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, kendalltau, norm

from .bootstrap import Interval, expanded, mean_interval

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


def told_apart(
    scores: Sequence[ArrayLike], ratings: Sequence[ArrayLike]
) -> tuple[Array, list[int]]:
    """Of each pair of answers to one document whose ratings differ, 1, ½ or 0: whether the better one is
    scored higher, NaN where that was not judged; and the number of its document."""
    found: list[Array] = []
    documents: list[int] = []
    for number, (ours, theirs) in enumerate(zip(scores, ratings, strict=True)):
        ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
        first, second = (
            np.array(list(combinations(range(len(ours)), 2)), dtype=int).reshape(-1, 2).T
        )
        apart = theirs[first] != theirs[second]
        first, second = first[apart], second[apart]
        found.append(right(ours[first] - ours[second], theirs[first] > theirs[second]))
        documents += [number] * len(first)
    return np.concatenate([*found, np.zeros(0)]), documents


def pairwise_accuracy(scores: Sequence[ArrayLike], ratings: Sequence[ArrayLike]) -> Interval:
    """The mean of `told_apart` over pairs; whole documents are drawn anew."""
    hits, documents = told_apart(scores, ratings)
    judged = ~np.isnan(hits)
    clusters = [number for number, there in zip(documents, judged, strict=True) if there]
    return mean_interval(hits[judged], clusters, level=expanded(len(set(clusters))))


def kendall_within(scores: Sequence[ArrayLike], ratings: Sequence[ArrayLike]) -> Interval:
    """τ_b of each document, a mean over documents; those where one of two likes all answers the same
    have none."""
    taus = np.array([kendall(ours, theirs) for ours, theirs in zip(scores, ratings, strict=True)])
    taus = taus[~np.isnan(taus)]
    return mean_interval(taus, level=expanded(len(taus)))


def kendall_pooled(
    scores: Sequence[ArrayLike], ratings: Sequence[ArrayLike], resamples: int = 500, seed: int = 0
) -> Interval:
    """τ_b of all answers at once, whatever their document; percentiles over documents drawn anew."""
    both = [
        (np.asarray(s, float), np.asarray(r, float)) for s, r in zip(scores, ratings, strict=True)
    ]
    both = [(s[~np.isnan(s)], r[~np.isnan(s)]) for s, r in both if not np.isnan(s).all()]

    def of(drawn: Sequence[int]) -> float:
        return kendall(*(np.concatenate([both[i][side] for i in drawn]) for side in (0, 1)))

    value, n = of(range(len(both))) if both else np.nan, sum(len(s) for s, _ in both)
    if len(both) < 2 or np.isnan(value):
        return Interval(value, np.nan, np.nan, n)
    generator = np.random.default_rng([seed, 4])
    drawn = [of(generator.integers(len(both), size=len(both))) for _ in range(resamples)]
    level = expanded(len(both))
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), n)


def kendall(scores: ArrayLike, ratings: ArrayLike) -> float:
    """τ_b of the answers that were judged; NaN where either side likes all of them the same."""
    ours, theirs = np.asarray(scores, dtype=float), np.asarray(ratings, dtype=float)
    judged = ~np.isnan(ours)
    if judged.sum() < 2:
        return np.nan
    return float(kendalltau(ours[judged], theirs[judged]).statistic)
