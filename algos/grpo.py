"""Group Relative Policy Optimization (GRPO).

Shao et al., 2024, https://arxiv.org/abs/2402.03300, eq. 3 and 4
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/grpo_trainer.py): loss_type "grpo"

Departures from that code: none known at these values, which are the paper's: it drops the KL by
default and averages over all tokens, as DAPO does. The 1e-4 beside the deviation is its own; verl has
1e-6. k3 stops at that of a log-ratio of −20, as in verl. `kl_correction` is its
`use_bias_correction_kl`, after DeepSeek-V3.2, there 0 at this commit and 1 in later versions.
"""

from dataclasses import dataclass

import torch

from .core import Credits, FromRollouts, Loss, Mean, Rollouts
from .ops import PerResponse, clipped_surrogate, group_whitened, k3, masked_mean


@dataclass(frozen=True)
class Credit:
    advantages: PerResponse


@dataclass(frozen=True)
class GRPO(FromRollouts, Credits):
    """−min(ρ A, clip(ρ, 1 ± ε) A) + β ρᶜ k3,  ρ = π_θ / π_old at each token; a mean of each response.

    A = (R − mean) / (std + 1e-4) over the responses to the prompt, 0 where they are equal or but one.
    k3 of π_θ / π_ref: its value is KL(π_θ ‖ π_ref)'s, its gradient KL(π_ref ‖ π_θ)'s at c = 0; at
    c = 1 both are KL(π_θ ‖ π_ref)'s.
    """

    clip: float = 0.2  # ε
    kl_coef: float = 0.04  # β
    kl_correction: float = 0.0  # c

    def credit(self, rollouts: Rollouts, state: None, generator: torch.Generator):
        return Credit(group_whitened(rollouts.rewards, rollouts.prompt)), state

    def loss(self, rollouts: Rollouts) -> Loss:
        mask, ratios = rollouts.responses.mask, rollouts.token_ratios
        advantages = rollouts.credit.advantages[:, None]
        policy = clipped_surrogate(ratios, advantages, self.clip)
        clipped = policy > -ratios * advantages
        kl = k3(rollouts.responses.token_logratios)
        return Loss(
            policy=Mean.over(masked_mean(policy, mask)),
            kl=Mean.over(masked_mean(ratios**self.kl_correction * kl, mask), coef=self.kl_coef),
            metrics={
                "ratio": ratios[mask],
                "clipfrac": clipped.to(ratios.dtype)[mask],
                "k3": kl[mask],
            },
        )
