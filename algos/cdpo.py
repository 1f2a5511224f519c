"""Conservative Direct Preference Optimization (cDPO): DPO on smoothed labels.

Mitchell, 2023, https://ericmitchell.ai/cdpo.pdf, eq. 3
Rafailov et al., 2023, https://arxiv.org/abs/2305.18290, for DPO
Code: https://github.com/eric-mitchell/direct-preference-optimization (f8b8c0f, trainers.py)

Departures from that code: none known. TRL since 0.29 ignores `label_smoothing` where the loss is
DPO's sigmoid, so that there a configuration of cDPO trains DPO.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class CDPO(FromPairs):
    """−(1 − ε) log σ(z) − ε log σ(−z),  z = β [h_w − h_l],  h = log π_θ(y|x) − log π_ref(y|x)."""

    beta: float = 0.1
    epsilon: float = 0.1  # how often labels are thought to be wrong; 0 recovers DPO

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        right, wrong = bradley_terry(chosen - rejected), bradley_terry(rejected - chosen)
        return Loss(
            policy=Mean.over((1 - self.epsilon) * right + self.epsilon * wrong),
            metrics={"chosen": chosen, "rejected": rejected},
        )
