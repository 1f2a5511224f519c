"""ReMax: REINFORCE against the reward of the greedy answer.

Li et al., 2023, https://arxiv.org/abs/2310.10505
Code: https://github.com/liziniu/ReMax (536ba49, step3_rlhf_finetuning/remax_trainer.py):
ReMaxAuthorsCode

Departures from that code: none known in ReMaxAuthorsCode, where samples are used once, by the policy
that drew them. There a token pays for its own k1 alone, the difference of rewards is clipped and
shrinks with every token to come, the last included, and every token weighs the same. ReMax has the
gradient of E[R − β Σ k1] instead: no discount, no clip, what a token entails is its to pay (as in
verl), and a sum over the response.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerToken, at_last_token, k1, masked, masked_sum, suffix_sum


@dataclass(frozen=True)
class Credit:
    advantages: PerToken  # 0 outside the response


@dataclass(frozen=True)
class ReMax(FromRollouts, Credits):
    """−Σ_t A_t log π_θ(y_t),  A_t = R(y) − R(ŷ) − β Σ_{s≥t} k1_s,  ŷ the greedy answer.

    k1 = log π_old − log π_ref at each token. One response a prompt is enough.
    """

    needs = frozenset()
    credit_needs = frozenset({"token_ref_logps", "baselines"})

    kl_coef: float = 0.05  # β; of the authors' scripts

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        mask = rollouts.responses.mask
        kl = k1(rollouts.token_old_logps - rollouts.responses.token_ref_logps)
        gain = at_last_token(rollouts.rewards - rollouts.baselines, mask)
        return Credit(suffix_sum(gain - self.kl_coef * kl, mask)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, advantages = rollouts.responses.mask, rollouts.credit.advantages
        return Loss(
            policy=Mean.over(masked_sum(advantages * rollouts.responses.token_nll, mask)),
            metrics={"advantage": advantages[mask]},
        )


@dataclass(frozen=True)
class ReMaxAuthorsCode(FromRollouts, Credits):
    """−A_t log π_θ(y_t),  A_t = γ^(|y| − t + 1) clip(R(y) − R(ŷ), ±δ) − β k1_t;  t = 1 .. |y|.

    A mean over all tokens; ŷ is the greedy answer,  k1 = log π_old − log π_ref at each token.
    """

    needs = frozenset()
    credit_needs = frozenset({"token_ref_logps", "baselines"})

    kl_coef: float = 0.05  # β
    gamma: float = 0.99
    reward_clip: float = 5.0  # δ

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        mask = rollouts.responses.mask
        kl = k1(rollouts.token_old_logps - rollouts.responses.token_ref_logps)
        gain = (rollouts.rewards - rollouts.baselines).clamp(-self.reward_clip, self.reward_clip)
        to_come = suffix_sum(torch.ones_like(kl), mask)
        return Credit(masked(gain[:, None] * self.gamma**to_come - self.kl_coef * kl, mask)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, advantages = rollouts.responses.mask, rollouts.credit.advantages
        return Loss(
            policy=Mean.over(advantages * rollouts.responses.token_nll, mask),
            metrics={"advantage": advantages[mask]},
        )
