"""Efficient Exact Optimization (EXO), on pairs: the reverse of the KL that DPO minimises.

Ji et al., 2024, https://arxiv.org/abs/2402.00856, eq. 16
Code: https://github.com/haozheji/exact-optimization (a8ab360, src/align_stage/loss.py): exo-pref

Departures from that code: the labels sum to one, as printed, where that code has (1, e⁻¹⁰). Its
gradient is ours at ε = σ(−10), and its value smaller by log(1 + e⁻¹⁰): `exo_authors_code`.
"""

import math
from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class EXO(FromPairs):
    """KL(q ‖ (1 − ε, ε)),  q = (σ(z), σ(−z)),  z = β [h_w − h_l].

    cDPO has the divergence the other way round, with its minimum at the same z.
    """

    beta: float = 0.1
    epsilon: float = 0.001  # how often the rejected is thought to win; above 0

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        z = chosen - rejected
        right = z.sigmoid() * (-bradley_terry(z) - math.log1p(-self.epsilon))
        wrong = (-z).sigmoid() * (-bradley_terry(-z) - math.log(self.epsilon))
        return Loss(
            policy=Mean.over(right + wrong), metrics={"chosen": chosen, "rejected": rejected}
        )
