"""Discovered Preference Optimization (DiscoPOP), or the log-ratio modulated loss.

Lu et al., 2024, https://arxiv.org/abs/2406.08414, eq. 5
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/dpo_trainer.py)

Departures from that code: the exponential and its weight are multiplied as logarithms, so that
pairs far on the wrong side give no infinity.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class DiscoPOP(FromPairs):
    """−log σ(z) σ(−z/τ) + e⁻ᶻ σ(z/τ),  z = β [h_w − h_l],  h = log π_θ(y|x) − log π_ref(y|x).

    Not monotone: it rises with z between a minimum just below 0 and a maximum just above.
    """

    first_step = "the loss rises with the margin around π_ref, so that the first step lowers it"

    beta: float = 0.05
    tau: float = 0.05  # temperature of the switch between the two; below 1

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        z = chosen - rejected
        logistic = bradley_terry(z) * (-z / self.tau).sigmoid()
        exponential = (-z - bradley_terry(z / self.tau)).exp()
        return Loss(
            policy=Mean.over(logistic + exponential),
            metrics={"chosen": chosen, "rejected": rejected},
        )
