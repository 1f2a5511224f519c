"""Iterative Reasoning Preference Optimization (IRPO): DPO and the likelihood of the chosen.

Pang et al., 2024, https://arxiv.org/abs/2404.19733, eq. 1
Code: https://github.com/sail-sg/oat (c1a074c, oat/learners/loss.py): sft_weight

Departures from that code: none known. The authors published none. Each chosen response's likelihood
is divided by its own length; TRL's `rpo_alpha`, and its losses [sigmoid, sft] since, divide by the
tokens of the batch. In the paper the reference is the policy of the round before.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class IRPO(FromPairs):
    """−log σ(β [h_w − h_l]) − α ℓ_w/|y_w|,  h = ℓ − log π_ref(y|x),  ℓ = log π_θ(y|x)."""

    beta: float = 0.1
    alpha: float = 1.0  # 0 recovers DPO

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            nll=Mean.over(-pairs.chosen.mean_logps, coef=self.alpha),
            metrics={"chosen": chosen, "rejected": rejected},
        )
