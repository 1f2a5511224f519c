"""Length-regularized DPO (R-DPO).

Park et al., 2024, https://arxiv.org/abs/2403.19159, eq. 9
Code: https://github.com/sail-sg/oat (c1a074c, oat/learners/loss.py)

Departures from that code: none known. Its sign is the paper's, that of maximising E [r − α |y|]
under DPO's KL; RLHFlow, among others, subtracts the difference of lengths, which rewards length.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class RDPO(FromPairs):
    """−log σ(β [h_w − h_l] + α [|y_w| − |y_l|]),  h = log π_θ(y|x) − log π_ref(y|x).

    What length alone explains need not be learned.
    """

    beta: float = 0.1
    alpha: float = 0.01  # price of a token; 0 recovers DPO

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        longer = pairs.chosen.lengths - pairs.rejected.lengths
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected + self.alpha * longer)),
            metrics={"chosen": chosen, "rejected": rejected},
        )
