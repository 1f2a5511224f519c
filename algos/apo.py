"""Anchored Preference Optimization (APO-zero, APO-down).

D'Oosterlinck et al., 2024, https://arxiv.org/abs/2408.06266, eq. 7 and 8
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/dpo_trainer.py)

Departures from that code: none known. Both have a constant 1 that the paper does not print.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs


@dataclass(frozen=True)
class APOZero(FromPairs):
    """1 − σ(r_w) + σ(r_l),  r = β [log π_θ(y|x) − log π_ref(y|x)].

    Chosen up, rejected down: for chosen responses better than the policy's own.
    """

    beta: float = 0.1

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        return Loss(
            policy=Mean.over((-chosen).sigmoid() + rejected.sigmoid()),
            metrics={"chosen": chosen, "rejected": rejected},
        )


@dataclass(frozen=True)
class APODown(FromPairs):
    """σ(r_w) + 1 − σ(r_w − r_l).

    Both down, the rejected more: for chosen responses worse than the policy's own.
    """

    first_step = "at π_ref what lowers the chosen and what raises it above the rejected cancel"

    beta: float = 0.1

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        return Loss(
            policy=Mean.over(chosen.sigmoid() + (rejected - chosen).sigmoid()),
            metrics={"chosen": chosen, "rejected": rejected},
        )
