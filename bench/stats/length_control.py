"""Win rates at equal length: how often one would win if both answers were equally long.

P(win | x) = σ(θ + φ tanh(Δ / s)), Δ = length − length of the opponent, s its standard deviation over the
prompts; the answer is σ(θ). Dubois et al., 2024, https://arxiv.org/abs/2404.04475, eq. 2 and 3.
Departures: no term for how hard each prompt is (it needs the answers of many models to the same prompts),
so that any set of prompts will do; φ has a normal prior of standard deviation 2.5 and θ is drawn towards
an even score by one win and one loss in a hundred thousand, so that a series of wins alone has an answer;
bounds are those of fits to resampled prompts, where AlpacaEval's error is that of its own predictions.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from .bootstrap import Interval, finite

Array = NDArray[np.float64]
PRIOR = 2.5  # standard deviation of φ
EVEN = 1e-5  # wins, and losses, of nobody
STEPS = 40  # of Newton's method, each of at most 1: a series of wins alone takes 20


def at_equal_length(
    wins: ArrayLike,
    lengths: ArrayLike,
    opponents: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """wins: 1, ½ or 0 a prompt; lengths of the two answers, in any unit. Without a prompt: NaN."""
    wins, lengths, opponents = (
        finite(x, name)
        for x, name in ((wins, "wins"), (lengths, "lengths"), (opponents, "opponents"))
    )
    if not len(wins) == len(lengths) == len(opponents):
        raise ValueError(
            f"{len(wins)} wins, {len(lengths)} and {len(opponents)} lengths: one a prompt"
        )
    if not len(wins):
        return Interval(np.nan, np.nan, np.nan, 0)
    n = len(wins)
    generator = np.random.default_rng([seed, 3])
    drawn = generator.multinomial(n, np.full(n, 1 / n), size=resamples)
    counts = np.concatenate([np.ones((1, n)), drawn])  # the prompts as they are come first
    shares = fitted(wins, lengths - opponents, counts)
    low, high = np.quantile(shares[1:], [0.025, 0.975]) if n > 1 else (np.nan, np.nan)
    return Interval(float(shares[0]), float(low), float(high), n)


def fitted(wins: Array, longer: Array, counts: Array) -> Array:
    """σ(θ) of each resample; counts: Float[R, P], how often it has each prompt."""
    spread = longer.std()
    x = np.tanh(longer / spread) if spread > 0 else np.zeros_like(longer)
    theta, phi = np.zeros(len(counts)), np.zeros(len(counts))
    for _ in range(STEPS):
        p = expit(theta[:, None] + phi[:, None] * x)
        away, bend = counts * (wins - p), counts * p * (1 - p)
        even = expit(theta)
        g0 = away.sum(1) + EVEN * (1 - 2 * even)
        g1 = away @ x - phi / PRIOR**2
        h00 = bend.sum(1) + 2 * EVEN * even * (1 - even)
        h01, h11 = bend @ x, bend @ x**2 + 1 / PRIOR**2
        determinant = h00 * h11 - h01**2
        step = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0]) / determinant
        step /= np.maximum(
            1.0, np.abs(step).max(0)
        )  # at most 1 at a time, as far away steps mislead
        theta, phi = theta + step[0], phi + step[1]
        if np.abs(step).max() < 1e-9:
            break
    return expit(theta)
