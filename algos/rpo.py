"""Regularized Preference Optimization (RPO): DPO and the likelihood of the chosen.

Liu et al., 2024, https://arxiv.org/abs/2405.16436
Code: https://github.com/YSLIU627/Regularized-Preference-Optimization (d0389c4,
alignment-handbook/scripts/rpo_trainer.py)

Departures from that code: none known. The likelihood is a sum over tokens and is scaled by β, as in
the main part of the paper. The authors' second code base takes the mean over tokens and no β, which
is IRPO with α = η, and they prefer it for reasoning; TRL takes the mean over the tokens of a batch.
NeMo's RPO (reward-aware) is another algorithm.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class RPO(FromPairs):
    """−log σ(β [h_w − h_l]) − η β ℓ_w,  h = ℓ − log π_ref(y|x),  ℓ = log π_θ(y|x)."""

    beta: float = 0.01
    eta: float = 0.005  # 0 recovers DPO

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            nll=Mean.over(-pairs.chosen.logps, coef=self.eta * self.beta),
            metrics={"chosen": chosen, "rejected": rejected},
        )
