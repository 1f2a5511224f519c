"""Odds Ratio Preference Optimization (ORPO), averaged over responses and over tokens.

Hong et al., 2024, https://arxiv.org/abs/2403.07691, eq. 6 and 7
Code: https://github.com/xfactlab/orpo (208d2d6, src/orpo_trainer.py)

Departures from that code: the likelihood is that of the response, as in the paper and in that code under
`disable_prompt_loss`, where its default has the prompt in it, too. No padding token counts as part of a
response, where that mask lets one in. The arithmetic keeps its precision, where that code rounds the loss
to 16 bits. The odds of a response stop where its mean probability a token is 1 − 10⁻⁶, for those of a
certain one are infinite. Likelihoods are averaged over each response and then over responses (ORPO); that
code averages over the chosen tokens of the batch (ORPOTokenMean), and so does TRL, prompts included.
"""

from dataclasses import dataclass

import torch

from .core import FromPairs, Loss, Mean, Pairs
from .ops import PerResponse, bradley_terry

CERTAIN = -1e-6  # log-probability beyond which odds are as good as infinite


def log_odds(logps: PerResponse) -> PerResponse:
    """log p − log(1 − p), from log p."""
    logps = logps.clamp(max=CERTAIN)
    return logps - torch.log(-torch.expm1(logps))


@dataclass(frozen=True)
class ORPO(FromPairs):
    """−ℓ̄_w − λ log σ(log odds_w − log odds_l),  odds = p/(1 − p), p = exp ℓ̄, ℓ̄ = log π_θ(y|x) / |y|."""

    needs = frozenset()

    lam: float = 0.1  # λ: 0.1 for Mistral, 0.2 for Llama-2, 0.25 for Phi-2

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = log_odds(pairs.chosen.mean_logps), log_odds(pairs.rejected.mean_logps)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected), coef=self.lam),
            nll=Mean.over(-pairs.chosen.mean_logps),
            metrics={"chosen": chosen, "rejected": rejected},
        )


@dataclass(frozen=True)
class ORPOTokenMean(FromPairs):
    """−log π_θ(y_w,t) over chosen tokens − λ log σ(log odds_w − log odds_l) over pairs."""

    needs = frozenset()

    lam: float = 0.1

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = log_odds(pairs.chosen.mean_logps), log_odds(pairs.rejected.mean_logps)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected), coef=self.lam),
            nll=Mean.over(pairs.chosen.token_nll, pairs.chosen.mask),
            metrics={"chosen": chosen, "rejected": rejected},
        )
