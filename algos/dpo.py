"""Direct Preference Optimization (DPO).

Rafailov et al., 2023, https://arxiv.org/abs/2305.18290, eq. 7
Code: https://github.com/eric-mitchell/direct-preference-optimization (f8b8c0f, trainers.py)

Departures from that code: none known. Its options, smoothed labels and no reference, are left out.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class DPO(FromPairs):
    """−log σ(β [h_w − h_l]),  h = log π_θ(y|x) − log π_ref(y|x)."""

    beta: float = 0.1  # price of leaving the reference

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios  # implicit rewards
        rejected = self.beta * pairs.rejected.logratios
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            metrics={"chosen": chosen, "rejected": rejected},
        )
