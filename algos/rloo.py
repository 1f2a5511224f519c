"""REINFORCE Leave-One-Out (RLOO).

Ahmadian et al., 2024, https://arxiv.org/abs/2402.14740
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/rloo_trainer.py)

Departures from that code: none known; its options that are off by default (whitened advantages,
clipped rewards) are left out. The paper has neither ratio nor clip, being on-policy throughout; in
the first step on new samples the two gradients are one, and `clip=inf` leaves the ratio alone. The
default β is the paper's for TL;DR, 0.05 in that code.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, capped_exp, clipped_surrogate, k1, leave_one_out, masked_sum


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse


@dataclass(frozen=True)
class RLOO(FromRollouts, Credits):
    """−min(ρ A, clip(ρ, 1 ± ε) A),  ρ = π_θ(y|x) / π_old(y|x): a response is one action.

    A = r − the mean of r over the other responses to the prompt, 0 where there are none;
    r = R − β Σ_t k1_t,  k1 = log π_old − log π_ref at each token.
    """

    needs = frozenset()
    credit_needs = frozenset({"token_ref_logps"})

    clip: float = 0.2  # ε
    kl_coef: float = 0.03  # β; the paper's for TL;DR, 0.1 for HH

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        kl = k1(rollouts.token_old_logps - rollouts.responses.token_ref_logps)
        returns = rollouts.rewards - self.kl_coef * masked_sum(kl, rollouts.responses.mask)
        return Credit(leave_one_out(returns, rollouts.prompt)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        ratio, advantages = capped_exp(rollouts.old_logratios), rollouts.credit.advantages
        policy = clipped_surrogate(ratio, advantages, self.clip)
        clipped = policy > -ratio * advantages
        return Loss(
            policy=Mean.over(policy),
            metrics={"ratio": ratio, "clipfrac": clipped.to(ratio.dtype)},
        )
