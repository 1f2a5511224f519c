"""How gold goes as a proxy is sought harder: best-of-n, and the two laws of over-optimization.

With d = √KL(π ‖ π_SFT) and R the gold gained since d = 0:

    best-of-n            R(d) = d (α − β d)          greatest at d = α / 2β
    policy gradients     R(d) = d (α − β log d)      greatest at d = exp(α/β − 1)

Gao, Schulman & Hilton, 2022, https://arxiv.org/abs/2210.10760, sec. 3.1 (the laws) and app. A (best-of-n
without bias); KL of best-of-n: Stiennon et al., 2020, https://arxiv.org/abs/2009.01325, app. G.3.
Departures: both are fitted by least squares, in which they are linear; bounds are those of fits to
resampled prompts, or where only means are known those of the coefficients' t distribution. The second
law does not hold near d = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlogy
from scipy.stats import multivariate_t, rankdata

from .bootstrap import Interval, finite

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """R(d) = α d − β bend(d); `top` is the d of the maximum, of (α, β) that have one."""

    bend: Callable[[Array], Array]
    top: Callable[[Array, Array], Array]

    def gained(self, d: ArrayLike, alpha: float, beta: float) -> Array:
        d = np.asarray(d, dtype=np.float64)
        return alpha * d - beta * self.bend(d)


BEST_OF_N = Law(lambda d: d**2, lambda alpha, beta: alpha / (2 * beta))
REINFORCED = Law(lambda d: xlogy(d, d), lambda alpha, beta: np.exp(alpha / beta - 1))


@dataclass(frozen=True)
class Fit:
    """A fitted law. `peak`: the d of the greatest gain, infinite where gold never falls."""

    alpha: Interval
    beta: Interval
    peak: Interval
    r2: float  # of the points; NaN where they do not vary
    reach: float  # the largest d of a point: beyond it a law is a guess


def best_of(n: int, liked: ArrayLike, worth: ArrayLike) -> Array:
    """What the one of n answers that is liked best is worth, on average over all choices of n among
    the N that each prompt has: Float[P]. liked, worth: Float[P, N]; equally liked ones share.

    Answer i of N in ascending order is the best of C(i − 1, n − 1) among C(N, n) choices.
    """
    liked, worth = np.asarray(liked, dtype=np.float64), np.asarray(worth, dtype=np.float64)
    of = liked.shape[1]
    if not 1 <= n <= of:
        raise ValueError(f"best of {n} of {of} answers: n must be from 1 to {of}")
    order = np.arange(1, of + 1)
    log_choose = gammaln(order) - gammaln(n) - gammaln(np.maximum(order - n, 0) + 1)
    log_all = gammaln(of + 1) - gammaln(n + 1) - gammaln(of - n + 1)
    chance = np.where(order >= n, np.exp(log_choose - log_all), 0.0)
    upto = np.concatenate([[0.0], chance.cumsum()])
    first, last = (rankdata(liked, how, axis=1) for how in ("min", "max"))
    shared = (upto[last] - upto[first - 1]) / (last - first + 1)
    return (shared * worth).sum(1)


def kl_of_best_of(n: ArrayLike) -> Array:
    """KL(best-of-n ‖ one sample) in nats, log n − (n − 1)/n: what it is where no two answers are alike,
    and a bound otherwise."""
    n = np.asarray(n, dtype=np.float64)
    return np.log(n) - (n - 1) / n


def fit(law: Law, d: ArrayLike, gains: ArrayLike, resamples: int = 2000, seed: int = 0) -> Fit:
    """A law through points; gains: Float[points, prompts], whose prompts are resampled for the bounds,
    or Float[points], whose residuals tell them."""
    d, gains = finite(d, "d"), np.asarray(gains, dtype=np.float64)
    if len(gains) != len(d) or len(d) < 3:
        raise ValueError(f"{len(d)} distances and {len(gains)} gains: at least 3 points of both")
    if not (d > 0).all():
        raise ValueError("every d must be above 0: nothing is gained at 0 by definition")
    design = np.stack([d, -law.bend(d)], axis=1)
    inverse = np.linalg.pinv(design)
    means = gains if gains.ndim == 1 else gains.mean(1)
    found = inverse @ means
    fitted = design @ found
    generator = np.random.default_rng([seed, 2])
    if gains.ndim == 1:
        free = len(d) - 2
        variance = ((means - fitted) ** 2).sum() / free
        spread = variance * inverse @ inverse.T
        many = multivariate_t.rvs(found, spread, free, size=resamples, random_state=generator)
    else:
        prompts = gains.shape[1]
        drawn = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples)
        many = drawn @ gains.T @ inverse.T / prompts
    total = ((means - means.mean()) ** 2).sum()
    r2 = 1 - ((means - fitted) ** 2).sum() / total if total > 0 else np.nan
    n = gains.size

    def interval(value: float, replicates: Array) -> Interval:
        low, high = np.quantile(replicates, [0.025, 0.975], method="nearest")
        return Interval(float(value), float(low), float(high), n)

    return Fit(
        interval(found[0], many[:, 0]),
        interval(found[1], many[:, 1]),
        interval(peaks(law, found[None])[0], peaks(law, many)),
        float(r2),
        float(d.max()),
    )


def peaks(law: Law, coefficients: Array) -> Array:
    """The d of each maximum: 0 where gold only falls, infinite where it never does."""
    alpha, beta = coefficients.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        top = law.top(alpha, beta)
    return np.where(beta > 0, np.maximum(top, 0.0), np.inf)
