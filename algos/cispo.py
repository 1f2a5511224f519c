"""Clipped IS-weight Policy Optimization (CISPO): the weight is clipped, never the update.

MiniMax et al., 2025, https://arxiv.org/abs/2506.13585
Code: https://github.com/verl-project/verl (1dda039, verl/trainer/ppo/core_algos.py):
compute_policy_loss_cispo

Departures from that code: no lower bound, as in the paper's runs; that code's example has one of
1 − 10, which is none. Its ε′ = 0.2 is the default here: the paper tunes ε′, and we could not check
to what. In TRL `epsilon_high` is the bound itself, our 1 + ε′. What the paper borrows of DAPO (more
prompts for those whose responses are equal, a length penalty) is left out.
"""

import math
from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, group_whitened


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse


@dataclass(frozen=True)
class CISPO(FromRollouts, Credits):
    """−sg[clip(ρ, 1 − ε, 1 + ε′)] A log π_θ,  ρ = π_θ / π_old at each token; a mean over all tokens.

    A = (R − mean) / (std + 1e-4) over the responses to the prompt, 0 where they are equal or but one.
    """

    needs = frozenset()

    clip_low: float = math.inf  # ε
    clip_high: float = 0.2  # ε′

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        return Credit(group_whitened(rollouts.rewards, rollouts.prompt)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, ratios = rollouts.responses.mask, rollouts.token_ratios.detach()
        weights = ratios.clamp(1 - self.clip_low, 1 + self.clip_high)
        advantages = rollouts.credit.advantages[:, None]
        return Loss(
            policy=Mean.over(weights * advantages * rollouts.responses.token_nll, mask),
            metrics={
                "ratio": ratios[mask],
                "clipfrac": (weights != ratios).to(ratios.dtype)[mask],
            },
        )
