"""Calibrated Direct Preference Optimization (Cal-DPO).

Xiao et al., 2024, https://arxiv.org/abs/2412.14516
Code: https://github.com/tengxiao1/Cal-DPO (7d16b46, scripts/dpo_trainer.py)

Departures from that code: none known. β does not scale the margin of DPO's term.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class CalDPO(FromPairs):
    """−log σ(h_w − h_l) + c [(h_w − 1/(2β))² + (h_l + 1/(2β))²],  h = log π_θ(y|x) − log π_ref(y|x).

    β h is drawn to a reward of ½ for the chosen and of −½ for the rejected.
    """

    beta: float = 0.002
    calibration: float = 0.5  # c

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = pairs.chosen.logratios, pairs.rejected.logratios
        goal = 1 / (2 * self.beta)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            calibration=Mean.over(
                (chosen - goal) ** 2 + (rejected + goal) ** 2, coef=self.calibration
            ),
            metrics={"chosen": self.beta * chosen, "rejected": self.beta * rejected},
        )
