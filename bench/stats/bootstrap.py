"""Bootstrap intervals of means, and a paired test; intervals of shares.

Every function has a generator of its own: numpy's global one is neither read nor moved, and the
same call gives the same numbers.

Values of one prompt, or of one seed, resemble each other. `clusters` names the group of each value
(any hashable label); whole groups are then drawn, and their flips shared.

Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13 (percentile interval); Davison &
Hinkley, Bootstrap Methods, 1997, sec. 3.8 (whole clusters); Hesterberg, 2014,
https://arxiv.org/abs/1411.5279 (expanded percentiles); Wilson, JASA 22, 1927 (score
interval); Phipson & Smyth, 2010, https://arxiv.org/abs/1603.05766 (why + 1).
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

Vector = NDArray[np.float64]
CELLS = 1 << 22  # numbers held at once while resampling: 32 MB
FLIPS = 9999  # of a paired test: a correction over a hundred rows needs small p-values


@dataclass(frozen=True)
class Interval:
    """An estimate and its bounds, in the unit of its values; NaN where there is none."""

    value: float
    low: float
    high: float
    n: int  # values averaged

    @property
    def fields(self) -> dict[str, float | int | None]:
        """As records have them: None where there is no number."""
        return {name: None if isnan(x) else x for name, x in vars(self).items()}


@dataclass(frozen=True)
class Paired:
    """Mean of a − b over rows, in the unit of a and b."""

    difference: float
    low: float
    high: float
    p_value: float  # two-sided; H₀: swapping a and b within a row (or cluster) changes nothing
    n: int  # rows

    @property
    def better(self) -> bool:
        """One is better: the interval excludes 0. The sign of `difference` says which."""
        return self.low > 0 or self.high < 0


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of the values, and its percentile bootstrap interval.

    Bounds are the (1 ± level)/2 quantiles of the mean over resamples of the clusters; every value
    weighs the same, so a resample's mean is Σ sums / Σ sizes. One cluster: no bounds (NaN). No
    value: NaN.

    Percentile intervals are short where clusters are few. Of those called 95 %, this share held the
    mean of n normal values: 84 % at n = 5, 91 % at 10, 92 % at 20, 93 % at 50. `level=expanded(n)`
    mends that from 10 on; a handful of seeds needs `crossed.crossed_mean`.
    """
    values = finite(values, "values")
    sums, sizes = totals(values, clusters)
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    low, high = percentile_bounds(sums, sizes, level, resamples, seed)
    return Interval(float(values.mean()), low, high, len(values))


def expanded(n: int, level: float = 0.95) -> float:
    """The level to ask of percentiles of n clusters, so that they are as wide as Student's t.

    Resamples have (n − 1)/n of the variance and normal tails: 2 Φ(√(n / (n − 1)) t) − 1, with t the
    (1 + level)/2 quantile of n − 1 degrees of freedom. One cluster: the level itself.
    """
    if n < 2:
        return level
    return float(2 * ndtr(sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2)) - 1)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = FLIPS,
    seed: int = 0,
) -> Paired:
    """Mean of a − b over rows that answer the same prompt, its interval, and a sign-flip test.

    The interval is Student's, of m clusters with sums d_i and sizes n_i: the mean d̄ = Σ d_i / Σ n_i, plus
    and minus t_{m−1} √(m/(m − 1) Σ (d_i − d̄ n_i)²) / Σ n_i; NaN of one cluster.
    p = (1 + #{|T*| ≥ |T|}) / (1 + resamples), T the sum of differences, T* the same with the sign of
    each row (or cluster) drawn anew: never below 1 / (1 + resamples), and 1 where there is one cluster
    or no row.
    """
    a, b = finite(a, "a"), finite(b, "b")
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values do not make pairs")
    sums, sizes = totals(a - b, clusters)
    p_value = float(sign_flip(sums, resamples, seed))
    mean = float((a - b).mean()) if len(a) else np.nan
    m, half = len(sums), np.nan
    if m > 1:
        off = sums - mean * sizes
        half = stdtrit(m - 1, (1 + level) / 2) * sqrt(m / (m - 1) * (off @ off)) / sizes.sum()
    return Paired(mean, mean - half, mean + half, p_value, len(a))


def interquartile_mean(values: ArrayLike, axis: int = -1) -> Vector:
    """The mean of the middle half: a quarter of the values, rounded down, is left out at each end.

    Agarwal et al., 2021, https://arxiv.org/abs/2108.13264. Up to three values: the mean.
    """
    from scipy.stats import trim_mean

    return trim_mean(values, 0.25, axis=axis)


def interquartile_interval(
    values: NDArray[np.float64], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Interquartile mean over seeds of the means over prompts, of Float[S, P], S at least 4.

    Seeds and prompts are drawn anew, independently, and the bounds are percentiles. Of those called 95 %,
    92 to 95 % held the truth where seeds differ, and more where they do not (at 4 to 10 seeds).
    """
    seeds, prompts = values.shape
    generator = np.random.default_rng([seed, 2])
    means = prompt_counts(prompts, resamples, seed) @ values.T / prompts
    drawn = generator.integers(seeds, size=(resamples, seeds))
    replicates = interquartile_mean(np.take_along_axis(means, drawn, axis=1))
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(interquartile_mean(values.mean(1))), float(low), float(high), prompts)


@lru_cache(maxsize=4)
def prompt_counts(prompts: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each prompt is drawn in each resample: Float[resamples, prompts]."""
    generator = np.random.default_rng([seed, 3])
    return generator.multinomial(prompts, np.full(prompts, 1 / prompts), resamples).astype(float)


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """A share of n independent trials, and Wilson's score interval, which stays within [0, 1].

    With z the normal quantile of (1 + level)/2 and p = successes / n,
        (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
    A tie may count as half a success. No trial: the value is NaN, the bounds 0 and 1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes out of {n}")
    if n == 0:
        return Interval(np.nan, 0.0, 1.0, 0)
    p, z = successes / n, float(ndtri((1 + level) / 2))
    centre = p + z**2 / (2 * n)
    width = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    scale = 1 + z**2 / n
    # (z²/2n)² under the root cancels the centre at p = 0; what floats leave is not a bound
    return Interval(
        p,
        max(0.0, (centre - width) / scale) if successes else 0.0,
        min(1.0, (centre + width) / scale) if successes < n else 1.0,
        n,
    )


def finite(values: ArrayLike, name: str) -> Vector:
    """The values as a vector; a ValueError names the first row that is NaN or infinite."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers, not of shape {values.shape}")
    for row in np.flatnonzero(~np.isfinite(values))[:1]:
        raise ValueError(f"{name}: row {row} is {values[row]}")
    return values


def totals(values: Vector, clusters: Sequence[Hashable] | None) -> tuple[Vector, Vector]:
    """Sum and size of each cluster, by first appearance; without clusters, of each value."""
    if clusters is None:
        return values, np.ones_like(values)
    if len(clusters) != len(values):
        raise ValueError(f"{len(clusters)} clusters for {len(values)} values")
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(label, len(order)) for label in clusters], dtype=np.intp)
    sums = np.bincount(index, weights=values, minlength=len(order))
    return sums, np.bincount(index, minlength=len(order)).astype(np.float64)


def percentile_bounds(
    sums: Vector, sizes: Vector, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Quantiles of Σ sums / Σ sizes over resamples of the clusters, with replacement."""
    m = len(sums)
    if m < 2:
        return np.nan, np.nan
    generator = np.random.default_rng([seed, 0])

    def means(rows: int) -> Vector:
        drawn = generator.integers(m, size=(rows, m))
        return sums[drawn].sum(1) / sizes[drawn].sum(1)

    replicates = np.concatenate([means(rows) for rows in blocks(resamples, m)])
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def sign_flip(sums: Vector, resamples: int, seed: int) -> Vector:
    """Two-sided p-value of Σ sums under independent random signs; of Float[N, K] one for each K."""
    observed = np.abs(sums.sum(0))
    # equal sums added in another order must tie, or p would depend on rounding
    threshold = observed - 1e-12 * np.abs(sums).sum(0)
    hits = sum(
        (np.abs(drawn @ sums) >= threshold).sum(0) for drawn in signs(len(sums), resamples, seed)
    )
    return (1 + hits) / (1 + resamples)


def signs(width: int, resamples: int, seed: int) -> Iterable[NDArray[np.float64]]:
    """Rows of −1 and 1, in blocks; those that fit into one are kept for the next test."""
    whole = resamples * width <= CELLS
    return [kept_signs(width, resamples, seed)] if whole else drawn_signs(width, resamples, seed)


@lru_cache(maxsize=4)
def kept_signs(width: int, resamples: int, seed: int) -> NDArray[np.float64]:
    return np.concatenate([*drawn_signs(width, resamples, seed)])


def drawn_signs(width: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    generator = np.random.default_rng([seed, 1])
    for rows in blocks(resamples, width):
        yield 2.0 * generator.integers(2, size=(rows, width)) - 1


def blocks(resamples: int, width: int) -> Iterator[int]:
    """Numbers of rows that add up to `resamples`, each block at most CELLS numbers."""
    step = max(1, CELLS // max(1, width))
    for start in range(0, resamples, step):
        yield min(step, resamples - start)
