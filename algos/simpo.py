"""Simple Preference Optimization (SimPO).

Meng et al., 2024, https://arxiv.org/abs/2405.14734
Code: https://github.com/princeton-nlp/SimPO (1b3e8f3, scripts/simpo_trainer.py)

Departures from that code: takes γ as the paper prints it, where that code takes γ/β; smoothed labels,
a hinge and a likelihood term, off by default there, are left out. That likelihood is on by default in
TRL, whose `simpo` is our `cpo_simpo` unless its `cpo_alpha` is 0. The defaults are the code's, where γ
is 0.25 β; published runs have β of 2 to 10 and γ of 0.1 β to 0.8 β.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class SimPO(FromPairs):
    """−log σ(β [ℓ_w/|y_w| − ℓ_l/|y_l|] − γ),  ℓ = log π_θ(y|x)."""

    needs = frozenset()

    beta: float = 2.0
    gamma: float = 0.5  # the margin asked for; 0 asks for a right order alone

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.mean_logps
        rejected = self.beta * pairs.rejected.mean_logps
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected - self.gamma)),
            metrics={"chosen": chosen, "rejected": rejected},
        )
