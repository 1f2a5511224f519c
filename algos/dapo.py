"""Decoupled Clip and Dynamic sAmpling Policy Optimization (DAPO).

Yu et al., 2025, https://arxiv.org/abs/2503.14476, eq. 8, 9 and 13
Code: https://github.com/verl-project/verl (1dda039, verl/trainer/ppo/core_algos.py and
verl/workers/reward_manager/dapo.py)

Departures from that code: the length penalty stops at −1, as printed, where that code goes on below.
A prompt whose responses all have one reward weighs nothing; the paper draws more prompts until the
batch is full. There is no second clip of the ratio for A < 0. Overlong filtering, a step of the
paper's ablation, is left out.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, clipped_surrogate, group_centred, group_mean, group_whitened


def overlong(lengths: PerResponse, limit: float, cache: float) -> PerResponse:
    """0 up to limit − cache tokens, then linear down to −1 at the limit and beyond; eq. 13.

    0 throughout without a cache.
    """
    return -(lengths - limit + cache).clamp(0, cache) / max(cache, 1)


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse
    kept: PerResponse  # 1 where the responses to the prompt differ in reward, else 0


@dataclass(frozen=True)
class DAPO(FromRollouts, Credits):
    """−min(ρ A, clip(ρ, 1 − ε, 1 + ε′) A),  ρ = π_θ / π_old at each token; a mean over all tokens.

    A = (r − mean) / (std + 1e-4) over the responses to the prompt,  r = R + penalty of the length.
    Prompts whose responses have the same R are left out.
    """

    needs = frozenset()

    clip_low: float = 0.2  # ε
    clip_high: float = 0.28  # ε′
    max_length: float = 20480.0  # tokens, at which the penalty is −1
    cache: float = 4096.0  # tokens before that, along which it grows; 0: no penalty

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        rewards, prompt = rollouts.rewards, rollouts.prompt
        penalty = overlong(rollouts.responses.lengths, self.max_length, self.cache)
        differ = group_mean(group_centred(rewards, prompt).abs(), prompt) > 0
        kept = differ.to(rewards.dtype)
        return Credit(group_whitened(rewards + penalty, prompt), kept), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, ratios = rollouts.responses.mask, rollouts.token_ratios
        advantages, kept = rollouts.credit.advantages[:, None], rollouts.credit.kept
        policy = clipped_surrogate(ratios, advantages, self.clip_low, self.clip_high)
        clipped = policy > -ratios * advantages
        return Loss(
            policy=Mean(policy, mask * kept[:, None]),
            metrics={
                "ratio": ratios[mask],
                "clipfrac": clipped.to(ratios.dtype)[mask],
                "kept": kept,
            },
        )
