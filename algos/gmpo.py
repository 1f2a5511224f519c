"""Geometric-Mean Policy Optimization (GMPO).

Zhao et al., 2025, https://arxiv.org/abs/2507.20673
Code: https://github.com/callsys/GMPO (205b2bf, train_zero_math_gmpo.py): critic_type_modify "gmpo"

Departures from that code: 1e-4 beside the deviation of a group, where it has 1e-8.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, capped_exp, group_whitened, masked_mean


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse


@dataclass(frozen=True)
class GMPO(FromRollouts, Credits):
    """−A (Π_t ρ′_t)^(1/|y|),  ρ′ = min(ρ, e^ε) where A > 0, else max(ρ, e^−ε).

    ρ = π_θ / π_old at each token;
    A = (R − mean) / (std + 1e-4) over the responses to the prompt, 0 where they are equal or but one.
    """

    needs = frozenset()

    clip: float = 0.4  # ε, of a log-ratio

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        return Credit(group_whitened(rollouts.rewards, rollouts.prompt)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, logratios = rollouts.responses.mask, rollouts.token_old_logratios
        advantages = rollouts.credit.advantages
        near = torch.where(
            advantages[:, None] > 0, logratios.clamp(max=self.clip), logratios.clamp(min=-self.clip)
        )
        ratio = capped_exp(masked_mean(near, mask))
        return Loss(
            policy=Mean.over(-advantages * ratio),
            metrics={"ratio": ratio, "clipfrac": (near != logratios).to(ratio.dtype)[mask]},
        )
