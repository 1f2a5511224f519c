"""Several reward models as one reward: their mean, the worst of them, or the mean less their dispute.

Coste et al., 2023, https://arxiv.org/abs/2310.02743, section 3: WCO and UWO. Each member's rewards
come normalized by its own offset and scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from algos.ops import penalized_mean

COMBINATIONS = {  # of Float[M, B], a row a member; coef and ddof as in penalized_mean
    "mean": lambda rewards, coef, ddof: penalized_mean(rewards, 0.0),
    "worst_case": lambda rewards, coef, ddof: rewards.amin(0),
    "uncertainty_weighted": penalized_mean,
}


@dataclass(frozen=True)
class Ensemble:
    """How many there are, and how they are combined; of one, it says what that one says."""

    members: int = 1
    combine: str = "mean"
    coef: float = 0.0  # of the variance, for uncertainty_weighted
    ddof: int = 0

    def __post_init__(self):
        if self.combine not in COMBINATIONS:
            known = ", ".join(COMBINATIONS)
            raise LookupError(f"feedback.ensemble.combine={self.combine!r}: one of {known}")
        if self.combine == "uncertainty_weighted" and self.members <= self.ddof:
            raise ValueError(
                f"feedback.ensemble.members={self.members}: a variance over members − {self.ddof} "
                "needs more of them"
            )

    def __call__(self, rewards: Sequence[Sequence[float]]) -> list[float]:
        """One reward an answer, from one list of them a member."""
        return COMBINATIONS[self.combine](torch.tensor(rewards), self.coef, self.ddof).tolist()
