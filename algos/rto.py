"""Reinforced Token Optimization (RTO): PPO whose reward at each token is that of a DPO policy.

Zhong et al., 2024, https://arxiv.org/abs/2404.18922
Code: https://github.com/zkshan2002/RTO (f2c1294, openrlhf/trainer/ppo_utils/experience_maker.py)

Departures from that code: a β₁ of 0 leaves the token rewards out, where that code then takes them
whole. It clips β₁ times the log-ratio to ±0.05, of which the paper says nothing: recipe
`rto_authors_code`. Rewards are not clipped to ±10. Advantages are whitened by the unbiased variance of a
batch of rollouts, there by the biased one. Policy and value terms are means over all tokens, there over
responses of means over their tokens; its critic has an optimizer of its own, and so no coefficient:
ours is PPO's. Its way to sample through Ray forgets the token rewards.
"""

import math
from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Rollouts, actor_critic
from .ops import PerToken, gae, masked, priced_rewards, whiten


@dataclass(frozen=True)
class Credit:
    advantages: PerToken  # whitened over the batch; 0 outside the response
    returns: PerToken  # of the advantages before whitening, in units of reward


@dataclass(frozen=True)
class RTO(FromRollouts, Credits):
    """PPO's −min(ρ A, clip(ρ, 1 ± ε) A) + c ½ max[(V − R)², (V′ − R)²], with the rewards

    β₁ [log π_dpo − log π_ref] − β₂ [log π_old − log π_ref] at each token, plus β₃ r at the last.

    The first of them is kept within ±δ. At β₁ = 0, β₃ = 1 it is PPO with a kl_coef of β₂.
    """

    needs = frozenset({"critic"})
    credit_needs = frozenset({"token_ref_logps", "token_rewards"})

    clip: float = 0.2  # ε
    value_clip: float = 0.2  # ε_v
    value_coef: float = 0.1  # c
    beta1: float = 0.05
    beta2: float = 0.01
    beta3: float = 1.0
    token_clip: float = math.inf  # δ
    gamma: float = 1.0
    lam: float = 0.95

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        mask = rollouts.responses.mask
        values = masked(rollouts.critic.old_values, mask)
        logratios = rollouts.token_old_logps - rollouts.responses.token_ref_logps
        token_rewards = self.beta1 * rollouts.token_rewards
        rewards = priced_rewards(self.beta3 * rollouts.rewards, logratios, mask, self.beta2)
        rewards = rewards + token_rewards.clamp(-self.token_clip, self.token_clip)
        advantages = gae(rewards, values, mask, torch.full_like(values, self.gamma), self.lam)
        return Credit(whiten(advantages, mask), returns=advantages + values), state

    def loss(self, rollouts: Rollouts) -> Loss:
        return actor_critic(rollouts, self.clip, self.value_clip, self.value_coef)
