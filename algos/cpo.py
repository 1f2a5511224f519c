"""Contrastive Preference Optimization (CPO, CPOSum) and its union with SimPO (CPOSimPO).

Xu et al., 2024, https://arxiv.org/abs/2401.08417
Meng et al., 2024, https://arxiv.org/abs/2405.14734, for the part of SimPO
Code: https://github.com/fe1ixxu/CPO_SIMPO (dd6caf5, scripts/cpo_trainer.py)

Departures from that code: smoothed labels, a hinge and a squared loss, off by default there, are left
out. Paper and page print the likelihood of whole chosen responses, Σ_t log π_θ(y_w,t) (CPOSum); the
code that trained the published models, and TRL, average it over the chosen tokens of the batch (CPO,
CPOSimPO). The knobs of CPOSimPO are those of its one published run. A later version of the authors'
code (fe1ixxu/ALMA, 10360c3) runs another loss under the name of CPO: it discounts the rejected response.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class CPO(FromPairs):
    """−log σ(β [ℓ_w − ℓ_l]) − α log π_θ(y_w,t),  ℓ = log π_θ(y|x); the last over chosen tokens."""

    needs = frozenset()

    beta: float = 0.1
    alpha: float = 1.0  # 0 is DPO with a uniform reference

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = self.beta * pairs.chosen.logps, self.beta * pairs.rejected.logps
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            nll=Mean.over(pairs.chosen.token_nll, pairs.chosen.mask, coef=self.alpha),
            metrics={"chosen": chosen, "rejected": rejected},
        )


@dataclass(frozen=True)
class CPOSum(FromPairs):
    """−log σ(β [ℓ_w − ℓ_l]) − α ℓ_w,  ℓ = log π_θ(y|x)."""

    needs = frozenset()

    beta: float = 0.1
    alpha: float = 1.0

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = self.beta * pairs.chosen.logps, self.beta * pairs.rejected.logps
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            nll=Mean.over(-pairs.chosen.logps, coef=self.alpha),
            metrics={"chosen": chosen, "rejected": rejected},
        )


@dataclass(frozen=True)
class CPOSimPO(FromPairs):
    """−log σ(β [ℓ_w/|y_w| − ℓ_l/|y_l|] − γ) − α log π_θ(y_w,t); the last over chosen tokens."""

    needs = frozenset()

    beta: float = 10.0
    gamma: float = 5.4
    alpha: float = 0.05  # 0 recovers SimPO

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.mean_logps
        rejected = self.beta * pairs.rejected.mean_logps
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected - self.gamma)),
            nll=Mean.over(pairs.chosen.token_nll, pairs.chosen.mask, coef=self.alpha),
            metrics={"chosen": chosen, "rejected": rejected},
        )
