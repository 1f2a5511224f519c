"""People as Bradley and Terry describe them: mostly right, by chance where answers are close."""

from collections.abc import Sequence

import numpy as np


def preferences(
    quality_a: Sequence[float], quality_b: Sequence[float], noise: float, seed: int
) -> np.ndarray:
    """Whether each of n annotators says that a is better: Bool[n].

    P(a ≻ b) = σ((q_a − q_b) / noise), qualities and noise in the unit of the reward; noise 0 is
    never wrong. Bradley and Terry, 1952, https://doi.org/10.2307/2334029.
    """
    gap = np.asarray(quality_a, dtype=float) - np.asarray(quality_b, dtype=float)
    if noise == 0:
        return gap > 0
    p = 0.5 * (1 + np.tanh(gap / (2 * noise)))
    return np.random.default_rng(seed).random(len(gap)) < p
