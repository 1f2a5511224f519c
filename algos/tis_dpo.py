"""Token-level Importance Sampling for DPO (TIS-DPO), as in the paper and as the authors run it.

Liu et al., 2024, https://arxiv.org/abs/2410.04350
Code: https://github.com/exlaw/TIS-DPO (cbad7c1, trainers.py, preference_datasets.py): TISDPOAuthorsCode

How much a token counts is told by two models, π₊ that likes what was chosen and π₋ that likes what was
rejected; their log-ratio is given. In the chosen answer a token counts the more, in the rejected one the
less, the better it is. The paper's weights are an exponential; k, μ, L and U are written here from memory
of its settings. That code ranks the tokens of each response instead and spreads weights evenly from 0.7
to 1.3 (`rank_based`, as its README runs it; by default every weight is 1, which is DPO).

Departures from that code: log-ratios are not rounded to two digits. As in its configuration, the
difference of sequential KLs (η in the paper, `token_level` there) is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .core import FromPairs, Loss, Mean, Pairs, Responses
from .ops import PerToken, bradley_terry, masked


def weighted(pairs: Pairs, beta: float, weights: Callable[[Responses, int], PerToken]) -> Loss:
    """DPO where tokens count by weights: the good ones more in one answer (1), less in the other (-1)."""
    chosen, rejected = (
        beta * (weights(side, sign) * side.token_logratios).sum(-1)
        for side, sign in [(pairs.chosen, 1), (pairs.rejected, -1)]
    )
    return Loss(
        policy=Mean.over(bradley_terry(chosen - rejected)),
        metrics={"chosen": chosen, "rejected": rejected},
    )


@dataclass(frozen=True)
class TISDPO(FromPairs):
    """−log σ(β [Σ_t w_t h_w,t − Σ_t v_t h_l,t]),  h_t = log π_θ − log π_ref of token t,
    w_t = k exp(μ c_t), v_t = k exp(−μ c_t),  c_t = log π₊ − log π₋ of token t, kept within L and U.
    """

    needs = FromPairs.needs | {"token_contrast"}

    beta: float = 0.1
    scale: float = 1.0  # k
    sharpness: float = 1.0  # μ; 0 recovers DPO
    low: float = -0.5  # L
    high: float = 1.5  # U

    def loss(self, pairs: Pairs) -> Loss:
        return weighted(pairs, self.beta, self.weights)

    def weights(self, responses: Responses, sign: int) -> PerToken:
        contrast = masked(responses.token_contrast, responses.mask).clamp(self.low, self.high)
        return self.scale * (sign * self.sharpness * contrast).exp()


@dataclass(frozen=True)
class TISDPOAuthorsCode(FromPairs):
    """TIS-DPO whose weights rise evenly over each response: from `low` for the token whose ±c_t is
    least to `high` for the one whose is largest, + if chosen, − if rejected; a lone token weighs 1.
    """

    needs = FromPairs.needs | {"token_contrast"}

    beta: float = 0.1
    low: float = 0.7
    high: float = 1.3

    def loss(self, pairs: Pairs) -> Loss:
        return weighted(pairs, self.beta, self.weights)

    def weights(self, responses: Responses, sign: int) -> PerToken:
        good = (sign * responses.token_contrast).masked_fill(~responses.mask, torch.inf)
        rank = good.argsort(stable=True).argsort()
        lengths = responses.lengths[:, None]
        even = self.low + (self.high - self.low) * rank / (lengths - 1).clamp(min=1)
        return torch.where(lengths == 1, 1.0, even)
