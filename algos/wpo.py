"""Weighted Preference Optimization (WPO).

Zhou et al., 2024, https://arxiv.org/abs/2406.11827, eq. 2
Code: https://github.com/wzhouad/WPO (a104458, scripts/run_wpo.py)

Departures from that code: the weight of a pair is not clamped at 1, as the paper does not print it
and TRL does not do it; recipe `wpo_authors_code` does.
"""

import math
from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs, Responses
from .ops import PerResponse, bradley_terry, masked_sum


@dataclass(frozen=True)
class WPO(FromPairs):
    """−sg[w_w w_l] log σ(β [h_w − h_l]),  h = log π_θ(y|x) − log π_ref(y|x).

    log w is the mean over the tokens of log π_θ(y_t|x, y_<t) − log Σ_v π_θ(v|x, y_<t)²: pairs that
    the policy would write itself count more, and a uniform policy weighs nothing more or less.
    """

    needs = FromPairs.needs | {"token_collision"}

    beta: float = 0.01
    max_weight: float = math.inf  # of w_w w_l

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        weight = (log_weight(pairs.chosen) + log_weight(pairs.rejected)).exp().detach()
        weight = weight.clamp(max=self.max_weight)
        return Loss(
            policy=Mean.over(weight * bradley_terry(chosen - rejected)),
            metrics={"chosen": chosen, "rejected": rejected, "weight": weight},
        )


def log_weight(responses: Responses) -> PerResponse:
    """log w; 0 for an empty response."""
    likely = responses.token_logps - responses.token_collision
    return masked_sum(likely, responses.mask) / responses.lengths.clamp(min=1)
