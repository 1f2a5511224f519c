"""Whether a model is right as often as it is sure.

All functions take the log-odds that it gave to what turned out true: a pair's r_w − r_l, or ±r of a
single label. Folded, its confidence is σ(|log-odds|) ≥ ½, and it is right where they are positive;
at 0 it says nothing, which is half right.

Guo et al., 2017, https://arxiv.org/abs/1706.04599, eqs. 2 and 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from .bootstrap import Interval, Vector, finite, mean_interval, wilson


@dataclass(frozen=True)
class Bin:
    """The items whose confidence lies in [low, high); the last bin holds 1, too."""

    low: float
    high: float
    confidence: float  # mean over the items
    accuracy: Interval  # Wilson's


def right(log_odds: ArrayLike) -> Vector:
    """1, ½ (undecided) or 0 for each item."""
    return (np.sign(finite(log_odds, "log_odds")) + 1) / 2


def accuracy(log_odds: ArrayLike) -> Interval:
    """The share that is right, and Wilson's interval; an undecided item is half right."""
    counted = right(log_odds)
    return wilson(float(counted.sum()), len(counted))


def log_loss(log_odds: ArrayLike) -> Interval:
    """Mean −log P(what turned out true), nats, and its bootstrap interval; log 2 knows nothing."""
    return mean_interval(-log_expit(finite(log_odds, "log_odds")))


def reliability(log_odds: ArrayLike, bins: int = 10) -> list[Bin]:
    """Bins of equal width over confidences ½ to 1; those without items are left out."""
    log_odds = finite(log_odds, "log_odds")
    confidence = expit(np.abs(log_odds))
    edges = np.linspace(0.5, 1, bins + 1)
    place = np.minimum(np.searchsorted(edges, confidence, side="right") - 1, bins - 1)
    return [
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            float(confidence[place == i].mean()),
            accuracy(log_odds[place == i]),
        )
        for i in sorted(set(place.tolist()))
    ]


def calibration_error(found: Sequence[Bin]) -> float:
    """Expected calibration error: Σ n_b |accuracy_b − confidence_b| / Σ n_b. NaN without items."""
    sizes = np.array([b.accuracy.n for b in found], dtype=float)
    gaps = [abs(b.accuracy.value - b.confidence) for b in found]
    return float(sizes @ gaps / sizes.sum()) if len(found) else float("nan")
