"""Token-level Importance Sampling for DPO (TIS-DPO), with weights given.

Liu et al., 2024, https://arxiv.org/abs/2410.04350
Code: https://github.com/exlaw/TIS-DPO (cbad7c1, trainers.py)

Departures from that code: none known in the loss. As in its configuration, the difference of sequential
KLs (η in the paper, `token_level` there) is left out. Its default transform sets every weight to 1, which
is DPO. Weights come from two models, one that likes what was chosen and one that likes what was rejected.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs, Responses
from .ops import PerResponse, bradley_terry, masked


def weighted_logratios(responses: Responses) -> PerResponse:
    """Σ_t w_t [log π_θ − log π_ref] of each token."""
    weights = masked(responses.token_weights, responses.mask)
    return (weights * responses.token_logratios).sum(-1)


@dataclass(frozen=True)
class TISDPO(FromPairs):
    """−log σ(β [Σ_t w_t h_w,t − Σ_t w_t h_l,t]),  h_t = log π_θ − log π_ref of token t."""

    needs = FromPairs.needs | {"token_weights"}

    beta: float = 0.1

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * weighted_logratios(pairs.chosen)
        rejected = self.beta * weighted_logratios(pairs.rejected)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            metrics={"chosen": chosen, "rejected": rejected},
        )
