"""Provably Robust Direct Preference Optimization (rDPO): DPO without the bias of flipped labels.

Ray Chowdhury et al., 2024, https://arxiv.org/abs/2403.00409
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/dpo_trainer.py): robust

Departures from that code: none known. Where a share ε of the labels is turned round at random, the
expectation of this loss is DPO's on the true labels. It may be negative, and has no lower bound.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class RobustDPO(FromPairs):
    """[−(1 − ε) log σ(z) + ε log σ(−z)] / (1 − 2ε),  z = β [h_w − h_l]."""

    beta: float = 0.1
    epsilon: float = 0.1  # how often labels are turned round, below ½; 0 recovers DPO

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        right, wrong = bradley_terry(chosen - rejected), bradley_terry(rejected - chosen)
        unbiased = ((1 - self.epsilon) * right - self.epsilon * wrong) / (1 - 2 * self.epsilon)
        return Loss(policy=Mean.over(unbiased), metrics={"chosen": chosen, "rejected": rejected})
