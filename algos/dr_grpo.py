"""GRPO Done Right (Dr. GRPO): neither a response's length nor a group's deviation divides.

Liu et al., 2025, https://arxiv.org/abs/2503.20783
Code: https://github.com/sail-sg/understand-r1-zero (dfca49d, train_zero_math.py), on oat's PPO

Departures from that code: its KL penalty, off in the paper, is left out, and so is its option to mask
responses without an end. Other code under this name divides by the longest response of the batch.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, clipped_surrogate, group_centred, masked_sum


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse


@dataclass(frozen=True)
class DrGRPO(FromRollouts, Credits):
    """−(1/L) Σ_t min(ρ A, clip(ρ, 1 ± ε) A),  ρ = π_θ / π_old at each token.

    A = R − its mean over the responses to the prompt, 0 where they are equal or but one.
    """

    needs = frozenset()

    clip: float = 0.2  # ε
    max_length: float = 3000.0  # L, a constant

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        return Credit(group_centred(rollouts.rewards, rollouts.prompt)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, ratios = rollouts.responses.mask, rollouts.token_ratios
        advantages = rollouts.credit.advantages[:, None]
        policy = clipped_surrogate(ratios, advantages, self.clip)
        clipped = policy > -ratios * advantages
        return Loss(
            policy=Mean.over(masked_sum(policy, mask) / self.max_length),
            metrics={"ratio": ratios[mask], "clipfrac": clipped.to(ratios.dtype)[mask]},
        )
