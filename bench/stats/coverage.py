"""How well one policy covers another, and what a policy lacks, where every probability is known.

Huang et al., 2025, https://arxiv.org/abs/2502.19255, section 3. A policy is Float[..., A], and so
are rewards; J(π) = E_π r − β KL(π ‖ π_ref) has its maximum at π* ∝ π_ref exp(r / β).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import kl_div, softmax

Policy = NDArray[np.float64]


def optimum(reference: Policy, reward: Policy, beta: float) -> Policy:
    """π*, where the reference leaves nothing out."""
    return softmax(np.log(reference) + reward / beta, axis=-1)


def value(policy: Policy, reference: Policy, reward: Policy, beta: float) -> NDArray[np.float64]:
    """J(π), in the unit of the reward."""
    return (policy * reward - beta * kl_div(policy, reference)).sum(-1)


def gap(policy: Policy, best: Policy, beta: float) -> NDArray[np.float64]:
    """J(π*) − J(π) = β KL(π ‖ π*), never below 0."""
    return beta * kl_div(policy, best).sum(-1)


def coverage(target: Policy, policy: Policy) -> NDArray[np.float64]:
    """Cov(π̃ | π) = E_π̃[π̃ / π] = 1 + χ²(π̃ ‖ π): 1 where they are equal."""
    return (target**2 / policy).sum(-1)


def kappa(z: float) -> float:
    """(z − 1)² / (z − 1 − log z), which z > 1 makes larger."""
    return (z - 1) ** 2 / (z - 1 - np.log(z))


def coverage_bound(gap: NDArray[np.float64], spread: float, beta: float) -> NDArray[np.float64]:
    """Lemma 3.1: Cov(π* | π) ≤ 1 + κ(e^{2R/β}) (J(π*) − J(π)) / β, for π among the mixtures of optima
    of rewards in [0, R], R = `spread`. What is nearly as good as the best covers it nearly as well.
    """
    return 1 + kappa(np.exp(2 * spread / beta)) * gap / beta
