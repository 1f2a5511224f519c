"""REINFORCE++: advantages whitened over the whole batch, without or with a group's mean as baseline.

Hu et al., 2025, https://arxiv.org/abs/2501.03262
Code: https://github.com/OpenRLHF/OpenRLHF (3c3be62, openrlhf/trainer/ppo_utils/experience_maker.py):
`reinforce`, and `reinforce_baseline` as its example script runs it

Departures from that code: variances are over n − 1, as in verl, where that code has n; estimates of
the KL are not cut at ±10. Whitening counts every token once, there as here, so that long responses
say more of the mean. `kl_coef` is that code's default without, and its script's with the baseline.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import (
    PerToken,
    at_last_token,
    clipped_surrogate,
    group_centred,
    k1,
    k2,
    suffix_sum,
    whiten,
)


@dataclass(frozen=True)
class Credit:
    advantages: PerToken  # whitened over the batch; 0 outside the response


@dataclass(frozen=True)
class REINFORCEPP(FromRollouts, Credits):
    """−min(ρ A, clip(ρ, 1 ± ε) A),  ρ = π_θ / π_old at each token; a mean over all tokens.

    A is R − β Σ_{s≥t} k1_s, whitened over the batch;  k1 = log π_old − log π_ref at each token.
    One response a prompt is enough.
    """

    needs = frozenset()
    credit_needs = frozenset({"token_ref_logps"})

    clip: float = 0.2  # ε
    kl_coef: float = 0.01  # β

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        mask = rollouts.responses.mask
        kl = k1(rollouts.token_old_logps - rollouts.responses.token_ref_logps)
        rewards = at_last_token(rollouts.rewards, mask) - self.kl_coef * kl
        return Credit(whiten(suffix_sum(rewards, mask), mask)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, ratios = rollouts.responses.mask, rollouts.token_ratios
        advantages = rollouts.credit.advantages
        policy = clipped_surrogate(ratios, advantages, self.clip)
        clipped = policy > -ratios * advantages
        return Loss(
            policy=Mean.over(policy, mask),
            metrics={"ratio": ratios[mask], "clipfrac": clipped.to(ratios.dtype)[mask]},
        )


@dataclass(frozen=True)
class REINFORCEPPBaseline(FromRollouts, Credits):
    """−min(ρ A, clip(ρ, 1 ± ε) A) + β k2,  ρ = π_θ / π_old at each token; a mean over all tokens.

    A is R − its mean over the responses to the prompt, whitened over the batch, so that it need not
    be 0 where those are equal;  k2 = ½ (log π_θ − log π_ref)², whose gradient is KL(π_θ ‖ π_ref)'s.
    """

    clip: float = 0.2  # ε
    kl_coef: float = 1e-5  # β

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        mask = rollouts.responses.mask
        centred = group_centred(rollouts.rewards, rollouts.prompt)
        return Credit(whiten(centred[:, None].expand(mask.shape), mask)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, ratios = rollouts.responses.mask, rollouts.token_ratios
        advantages = rollouts.credit.advantages
        policy = clipped_surrogate(ratios, advantages, self.clip)
        clipped = policy > -ratios * advantages
        kl = k2(rollouts.responses.token_logratios)
        return Loss(
            policy=Mean.over(policy, mask),
            kl=Mean.over(kl, mask, coef=self.kl_coef),
            metrics={
                "ratio": ratios[mask],
                "clipfrac": clipped.to(ratios.dtype)[mask],
                "k2": kl[mask],
            },
        )
