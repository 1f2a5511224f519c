"""Proximal Policy Optimization (PPO) whose price of leaving the reference seeks a KL (adaptive KL).

Ziegler et al., 2019, https://arxiv.org/abs/1909.08593, section 2.2
Code: https://github.com/openai/lm-human-preferences (cbfd210, lm_human_preferences/train_policy.py)

Departures from that code: advantages are whitened by the unbiased variance over response tokens, there
by the biased one over padding, too; its rewards are whitened as well, keeping their mean. Target and
horizon are its own, and so is the first price, that of its runs on style. Surrogate, value loss and the
reward on the last token are those of `ppo`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .core import Credits, FromRollouts, Loss, Rollouts, actor_critic
from .ops import (
    PerToken,
    gae,
    masked,
    masked_sum,
    priced_rewards,
    whiten,
)


@dataclass(frozen=True)
class Credit:
    advantages: PerToken  # whitened over the batch; 0 outside the response
    returns: PerToken  # of the advantages before whitening, in units of reward
    kl_coef: Float[Tensor, ""]  # β of this batch


@dataclass(frozen=True)
class State:
    kl_coef: Float[Tensor, ""]  # β of the next batch


@dataclass(frozen=True)
class PPOAdaptive(FromRollouts, Credits):
    """PPO's −min(ρ A, clip(ρ, 1 ± ε) A) + c ½ max[(V − R)², (V′ − R)²] with a price β of its own:

    β ← β (1 + e n / H),  e = clip(KL / target − 1, ±0.2), after each batch of n responses, where KL
    is the mean of log π_old(y|x) − log π_ref(y|x) over them. An infinite H leaves it alone.
    """

    needs = frozenset({"critic"})
    credit_needs = frozenset({"token_ref_logps"})

    clip: float = 0.2  # ε
    value_clip: float = 0.2  # ε_v
    value_coef: float = 0.1  # c
    kl_coef: float = 0.15  # β at first
    kl_target: float = 6.0  # nats a response
    kl_horizon: float = 10000.0  # H, in responses
    gamma: float = 1.0
    lam: float = 0.95

    def start(self) -> State:
        return State(torch.tensor(self.kl_coef))

    def credit(self, rollouts: Rollouts, state: State, generator: torch.Generator):
        mask = rollouts.responses.mask
        values = masked(rollouts.critic.old_values, mask)
        logratios = rollouts.token_old_logps - rollouts.responses.token_ref_logps
        rewards = priced_rewards(rollouts.rewards, logratios, mask, state.kl_coef)
        discounts = torch.full_like(values, self.gamma)
        advantages = gae(rewards, values, mask, discounts, self.lam)

        kl = masked_sum(logratios, mask).mean()
        error = (kl / self.kl_target - 1).clamp(-0.2, 0.2)
        then = state.kl_coef * (1 + error * len(rewards) / self.kl_horizon)
        credit = Credit(whiten(advantages, mask), advantages + values, state.kl_coef)
        return credit, State(then.to(state.kl_coef))

    def loss(self, rollouts: Rollouts) -> Loss:
        kl_coef = rollouts.credit.kl_coef.expand(len(rollouts.rewards))
        paid = Loss(metrics={"kl_coef": kl_coef.to(rollouts.token_old_logps.dtype)})
        return actor_critic(rollouts, self.clip, self.value_clip, self.value_coef) + paid
