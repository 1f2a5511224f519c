"""Alpha Preference Optimization (AlphaPO): SimPO with a reward of another shape.

Gupta et al., 2025, https://arxiv.org/abs/2501.03884
Code: https://github.com/huggingface/trl (f2cd577, trl/experimental/cpo/cpo_trainer.py), not the authors'

Departures from that code: α = 0 is the limit, SimPO, without a branch, and small α keep their digits. A
reward falls along a straight line once p̄^−α is past e²⁰, for it would soon be infinite. The defaults are
those of Mistral-Instruct in table 3 as TRL's paper index quotes it, not checked against the paper: a γ
of 0.1 is what SimPO's settings for this model call γ/β.
"""

from dataclasses import dataclass

import torch

from .core import FromPairs, Loss, Mean, Pairs
from .ops import PerResponse, bradley_terry


def shaped(logps: PerResponse, alpha: float) -> PerResponse:
    """(1 − p^−α)/α from log p; log p at α = 0."""
    power = (-alpha * logps).clamp(max=20)
    still = power == 0
    return logps * torch.where(still, 1.0, torch.expm1(power) / torch.where(still, 1.0, power))


@dataclass(frozen=True)
class AlphaPO(FromPairs):
    """−log σ(β [r_w − r_l] − γ),  r = (1 − p̄^−α)/α, p̄ = exp(log π_θ(y|x) / |y|)."""

    needs = frozenset()

    beta: float = 2.5
    gamma: float = 0.1
    alpha: float = 0.25  # 0 recovers SimPO

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * shaped(pairs.chosen.mean_logps, self.alpha)
        rejected = self.beta * shaped(pairs.rejected.mean_logps, self.alpha)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected - self.gamma)),
            metrics={"chosen": chosen, "rejected": rejected},
        )
