"""Exploratory Preference Optimization (XPO).

Xie et al., 2024, https://arxiv.org/abs/2405.21046, algorithm 1
Code: https://github.com/huggingface/trl (f2cd577, trl/experimental/xpo/xpo_trainer.py)

Departures from that code: none known; there, too, the likelihood of the reference's answer is pushed
down. A pair is one answer of the policy and one of the reference, whichever is better. oat has 5e-6
for α. The paper anneals α over its three iterations.
"""

from dataclasses import dataclass

import torch

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class XPO(FromPairs):
    """−log σ(β [h_w − h_l]) + α log π_θ(ỹ|x),  ỹ the one of the two that the reference said.

    h = log π_θ(y|x) − log π_ref(y|x). The second term makes the policy hope for better elsewhere.
    """

    needs = FromPairs.needs | {"by_reference"}

    beta: float = 0.1  # price of leaving the reference
    alpha: float = 1e-5  # of optimism

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = pairs.chosen, pairs.rejected
        margin = self.beta * (chosen.logratios - rejected.logratios)
        theirs, others = (torch.where(x.by_reference, x.logps, 0.0) for x in (chosen, rejected))
        return Loss(
            policy=Mean.over(bradley_terry(margin)),
            optimism=Mean.over(theirs + others, coef=self.alpha),
            metrics={"reference_won": chosen.by_reference.to(margin.dtype)},
        )
