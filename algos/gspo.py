"""Group Sequence Policy Optimization (GSPO).

Zheng et al., 2025, https://arxiv.org/abs/2507.18071
Code: https://github.com/verl-project/verl (1dda039, verl/trainer/ppo/core_algos.py):
compute_policy_loss_gspo

Departures from that code: it writes the ratio of a response on each of its tokens, with the same
value and gradient where these share an advantage. The clip is the paper's, as TRL notes it.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, capped_exp, clipped_surrogate, group_whitened


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse


@dataclass(frozen=True)
class GSPO(FromRollouts, Credits):
    """−min(s A, clip(s, 1 − ε, 1 + ε′) A),  s = [π_θ(y|x) / π_old(y|x)]^(1/|y|).

    A = (R − mean) / (std + 1e-4) over the responses to the prompt, 0 where they are equal or but one.
    """

    needs = frozenset()

    clip_low: float = 3e-4  # ε
    clip_high: float = 4e-4  # ε′

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        return Credit(group_whitened(rollouts.rewards, rollouts.prompt)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        ratio, advantages = capped_exp(rollouts.mean_old_logratios), rollouts.credit.advantages
        policy = clipped_surrogate(ratio, advantages, self.clip_low, self.clip_high)
        clipped = policy > -ratio * advantages
        return Loss(
            policy=Mean.over(policy),
            metrics={"ratio": ratio, "clipfrac": clipped.to(ratio.dtype)},
        )
