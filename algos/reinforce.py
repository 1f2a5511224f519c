"""REINFORCE against the mean of all returns so far.

Ahmadian et al., 2024, https://arxiv.org/abs/2402.14740, which compares it with RLOO
Code: https://github.com/verl-project/verl (1dda039, verl/trainer/ppo/core_algos.py):
compute_policy_loss_reinforce

Departures from that code: it takes advantages from elsewhere, and can weigh tokens for a sampler
whose probabilities are off; here is the baseline of the paper's comparison, which asks for neither a
group nor a critic nor a greedy answer. It has no ratio either: samples are meant to be used once, by
the policy that drew them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, k1, masked_sum, running_mean


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse


@dataclass(frozen=True)
class State:
    mean: Float[Tensor, ""]  # of all returns so far
    count: Float[Tensor, ""]


@dataclass(frozen=True)
class REINFORCE(FromRollouts, Credits):
    """−(r − b) log π_θ(y|x),  r = R − β Σ_t k1_t,  k1 = log π_old − log π_ref at each token.

    b is the mean of r over all responses so far, these included: among n, that scales the first
    step by 1 − 1/n and turns it nowhere.
    """

    needs = frozenset()
    credit_needs = frozenset({"token_ref_logps"})

    kl_coef: float = 0.03  # β; the paper's for TL;DR, 0.1 for HH

    def start(self) -> State:
        return State(mean=torch.tensor(0.0), count=torch.tensor(0.0))

    def credit(self, rollouts: Rollouts, state: State, generator: torch.Generator):
        kl = k1(rollouts.token_old_logps - rollouts.responses.token_ref_logps)
        returns = rollouts.rewards - self.kl_coef * masked_sum(kl, rollouts.responses.mask)
        mean, count = running_mean(state.mean, state.count, returns)
        return Credit(returns - mean), State(mean, count)

    def loss(self, rollouts: Rollouts) -> Loss:
        advantages = rollouts.credit.advantages
        return Loss(
            policy=Mean.over(-advantages * rollouts.responses.logps),
            metrics={"advantage": advantages},
        )
