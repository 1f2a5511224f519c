"""Who wins, row by row: from scores, or from a judge that is asked in both orders."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

Texts = TypeVar("Texts", str, Sequence[str])
P = TypeVar("P", float, np.ndarray)  # a probability, or one per pair


def wins(scores: ArrayLike, baseline_scores: ArrayLike, atol: float = 1e-6) -> list[float]:
    """Per row, 1 where the score beats the baseline's, ½ where they are within atol, else 0.

    Scores in any unit, higher is better. The mean is the win rate.
    """
    scores, baseline = np.asarray(scores, float), np.asarray(baseline_scores, float)
    if scores.shape != baseline.shape:
        raise ValueError(f"scores of shape {scores.shape} against {baseline.shape}")
    gap = scores - baseline
    for row in np.flatnonzero(np.isnan(gap))[:1]:
        raise ValueError(f"row {row}: {scores[row]} against {baseline[row]}")
    return np.where(np.abs(gap) <= atol, 0.5, gap > 0).tolist()


def both_orders(prefer: Callable[[Texts, Texts], P], a: Texts, b: Texts) -> P:
    """P(a is better), free of a judge's liking for a place: ½ [prefer(a, b) + 1 − prefer(b, a)].

    `prefer(first, second)` is P(first is better), of one pair or as an array over many. A verdict
    that could not be read should be NaN, which stays NaN: never a coin's.
    """
    return (prefer(a, b) + 1 - prefer(b, a)) / 2


def won(preferences: ArrayLike, atol: float = 1e-6) -> np.ndarray:
    """1 where P(ours is better) is above ½, ½ where it is within atol of it, else 0; NaN stays NaN."""
    away = np.asarray(preferences, float) - 0.5
    return (1 + np.sign(np.where(np.abs(away) <= atol, 0.0, away))) / 2
