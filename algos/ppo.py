"""Proximal Policy Optimization (PPO), as used to fine-tune language models.

Schulman et al., 2017, https://arxiv.org/abs/1707.06347, eq. 7
Ouyang et al., 2022, https://arxiv.org/abs/2203.02155, for the per-token KL penalty
Code: https://github.com/huggingface/trl (f2cd577, trl/experimental/ppo/ppo_trainer.py)

Departures from that code: the reward falls on the last token of the response, not one later, so
that no position after it has a value, a return or a weight in a mean. Whitening looks at the whole
batch, where that code looks at one process's; a batch of one token whitens to 0, not to NaN. Ratios
stop at e²⁰. Its options that are off by default (k3, whitened rewards) are left out. The price of a
missing end, `missing_eos_penalty` there, is part of the `rewards` that the bench hands over; such
a response ends without bootstrap, as it does there.
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
class PPO(FromRollouts, Credits):
    """−min(ρ A, clip(ρ, 1 ± ε) A) + c ½ max[(V − R)², (V′ − R)²],  ρ = π_θ / π_old at each token.

    A is the whitened GAE of −β (log π_old − log π_ref) at each token plus the reward at the last;
    R is that GAE before whitening plus V_old; V′ is V kept within ε_v of V_old.
    """

    needs = frozenset({"critic"})
    credit_needs = frozenset({"token_ref_logps"})

    clip: float = 0.2  # ε
    value_clip: float = 0.2  # ε_v
    value_coef: float = 0.1  # c
    kl_coef: float = 0.05  # β
    gamma: float = 1.0
    lam: float = 0.95

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        mask = rollouts.responses.mask
        values = masked(rollouts.critic.old_values, mask)
        logratios = rollouts.token_old_logps - rollouts.responses.token_ref_logps
        rewards = priced_rewards(rollouts.rewards, logratios, mask, self.kl_coef)
        discounts = torch.full_like(values, self.gamma)
        advantages = gae(rewards, values, mask, discounts, self.lam)
        return Credit(whiten(advantages, mask), returns=advantages + values), state

    def loss(self, rollouts: Rollouts) -> Loss:
        return actor_critic(rollouts, self.clip, self.value_clip, self.value_coef)
