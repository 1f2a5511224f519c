"""PPO with the tricks that were found to keep it stable, each a number (PPO-max).

Zheng et al., 2023, https://arxiv.org/abs/2307.04964, section 5, eq. 17 to 19
Code: https://github.com/OpenLMLab/MOSS-RLHF (4865d82, ppo/ppo_trainer.py)

Departures from that code: the script that comes with it neither centres nor clips rewards, imitates no
text and has a β of 0.01 (recipe `ppo_max_released`); this follows the paper. Advantages are normalised
over a batch of rollouts, by the unbiased variance, where that code takes a minibatch and the biased
one. Its entropy term is |Δ − mean H| with a Δ of 35 nats, more than a token of any vocabulary has, so
that the bound never acts (the paper's figure has 30); here each token is paid for its entropy up to
Δ. A history without spread divides by 1e-4, not by 0; ratios stop at e²⁰. Neither paper nor code tells
a coefficient of the imitated text (the code's is 0): 0.1 is ours. What is no loss belongs to recipes:
how the critic starts, the bound on the gradient, the size of the buffer.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .core import Credits, FromRollouts, Loss, Mean, Rollouts, actor_critic
from .ops import (
    PerToken,
    gae,
    masked,
    priced_rewards,
    running_moments,
    whiten,
)


@dataclass(frozen=True)
class Credit:
    advantages: PerToken  # as normalised and clipped; 0 outside the response
    returns: PerToken  # of the advantages before that, in units of r̃


@dataclass(frozen=True)
class State:
    """Of all rewards so far, those of the batch at hand included."""

    mean: Float[Tensor, ""]
    squares: Float[Tensor, ""]  # Σ (r − mean)²
    count: Float[Tensor, ""]


@dataclass(frozen=True)
class PPOMax(FromRollouts, Credits):
    """−min(ρ A, clip(ρ, 1 ± ε) A) + c ½ max[(V − R)², (V′ − R)²] − c_H min(H, Δ) − c_x log π_θ(x).

    As in PPO, A and R come from the GAE Â of −β (log π_old − log π_ref) at each token plus a reward at
    the last, here r̃ = clip([r − s r̄] / σ^p, ±δ), r̄ and σ over all rewards so far. R = Â + V_old,
    A = clip(w whiten(Â) + (1 − w) Â, ±δ_A). H is the entropy of the next token, x a token of plain text.
    Infinite bounds, s = p = c_H = c_x = 0 and w = 1 are off; then it is PPO.
    """

    needs = frozenset({"critic", "token_entropy", "pretrain"})  # the latter two for c_H, c_x > 0
    credit_needs = frozenset({"token_ref_logps"})

    clip: float = 0.2  # ε
    value_clip: float = 0.2  # ε_v
    value_coef: float = 1.0  # c
    kl_coef: float = 0.05  # β
    gamma: float = 1.0
    lam: float = 0.95
    reward_shift: float = 1.0  # s
    reward_scale: float = 1.0  # p
    reward_clip: float = 0.8  # δ; the paper's 0.3 is the tight one
    advantage_norm: float = 0.0  # w; not beside normalised rewards, the paper finds
    advantage_clip: float = math.inf  # δ_A
    entropy_coef: float = 0.0  # c_H; the paper tries 0.01 and advises against it
    entropy_clip: float = math.inf  # Δ, in nats
    ptx_coef: float = 0.1  # c_x

    def __post_init__(self):
        """What weighs nothing is not scored, either."""
        paid = {"token_entropy": self.entropy_coef, "pretrain": self.ptx_coef}
        idle = {name for name, coef in paid.items() if coef == 0}
        object.__setattr__(self, "needs", type(self).needs - idle)

    def start(self) -> State:
        nothing = torch.tensor(0.0)
        return State(mean=nothing, squares=nothing, count=nothing)

    def credit(self, rollouts: Rollouts, state: State, generator: torch.Generator):
        mean, squares, count = running_moments(
            state.mean, state.squares, state.count, rollouts.rewards
        )
        deviation = (squares / (count - 1).clamp(min=1) + 1e-8).sqrt()
        reward = (rollouts.rewards - self.reward_shift * mean) / deviation**self.reward_scale
        reward = reward.clamp(-self.reward_clip, self.reward_clip)

        mask = rollouts.responses.mask
        values = masked(rollouts.critic.old_values, mask)
        logratios = rollouts.token_old_logps - rollouts.responses.token_ref_logps
        rewards = priced_rewards(reward, logratios, mask, self.kl_coef)
        raw = gae(rewards, values, mask, torch.full_like(values, self.gamma), self.lam)
        advantages = self.advantage_norm * whiten(raw, mask) + (1 - self.advantage_norm) * raw
        advantages = advantages.clamp(-self.advantage_clip, self.advantage_clip)
        return Credit(advantages, returns=raw + values), State(mean, squares, count)

    def loss(self, rollouts: Rollouts) -> Loss:
        loss = actor_critic(rollouts, self.clip, self.value_clip, self.value_coef)
        if "token_entropy" in self.needs:
            responses = rollouts.responses
            entropy = masked(responses.token_entropy, responses.mask).clamp(max=self.entropy_clip)
            loss += Loss(entropy=Mean.over(-entropy, responses.mask, coef=self.entropy_coef))
        if "pretrain" in self.needs:
            text = rollouts.pretrain
            loss += Loss(pretrain=Mean.over(text.token_nll, text.mask, coef=self.ptx_coef))
        return loss
