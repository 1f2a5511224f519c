"""Proximal Policy Optimization (PPO) over the turns of a dialogue, each with a reward of its own.

Schulman et al., 2017, https://arxiv.org/abs/1707.06347, eq. 7
Wang et al., 2025, https://arxiv.org/abs/2510.16907, for rewards and credit of turns
Code: https://github.com/mll-lab-nu/RAGEN (20daedc, ragen/trainer/core_algos.py, the bi-level GAE)

Departures from that code: one GAE from token to token, in which the step over another speaker's
tokens has a price of its own. That code runs one over the last tokens of turns, with their values as
bootstrap, and hands its returns as rewards to another within each turn, so that two runs of λ meet in
a token. A turn that earns nothing ends all the same, where that code knows ends by their rewards.
Surrogate, value loss and KL penalty are those of `ppo`.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Rollouts, actor_critic
from .ops import PerToken, gae, masked, priced_rewards, whiten


@dataclass(frozen=True)
class Credit:
    advantages: PerToken  # whitened over the batch; 0 outside the response
    returns: PerToken  # of the advantages before whitening, in units of reward


@dataclass(frozen=True)
class PPOTurns(FromRollouts, Credits):
    """−min(ρ A, clip(ρ, 1 ± ε) A) + c ½ max[(V − R)², (V′ − R)²],  ρ = π_θ / π_old at each token.

    A is the whitened GAE of r_t − β (log π_old − log π_ref) at each token, plus the reward at the last,
    where the step from token t to the next is discounted by γ_t. r and γ are given: what a turn has
    earned at its last token, and 1 inside turns. R is that GAE before whitening plus V_old; V′ is V
    kept within ε_v of V_old.
    """

    needs = frozenset({"critic"})
    credit_needs = frozenset({"token_ref_logps", "token_rewards", "token_discounts"})

    clip: float = 0.2  # ε
    value_clip: float = 0.2  # ε_v
    value_coef: float = 0.1  # c
    kl_coef: float = 0.05  # β
    lam: float = 0.95

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        mask = rollouts.responses.mask
        values = masked(rollouts.critic.old_values, mask)
        logratios = rollouts.token_old_logps - rollouts.responses.token_ref_logps
        priced = priced_rewards(rollouts.rewards, logratios, mask, self.kl_coef)
        rewards = rollouts.token_rewards + priced
        advantages = gae(rewards, values, mask, rollouts.token_discounts, self.lam)
        return Credit(whiten(advantages, mask), returns=advantages + values), state

    def loss(self, rollouts: Rollouts) -> Loss:
        return actor_critic(rollouts, self.clip, self.value_clip, self.value_coef)
