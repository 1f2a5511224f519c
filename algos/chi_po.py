"""χ²-Preference Optimization (χPO): DPO with another link, against over-optimization.

Huang et al., 2024, https://arxiv.org/abs/2407.13399
Code: https://github.com/huggingface/trl (93b31d3, pull request 3573, trl/trainer/dpo_trainer.py)

Departures from that code: u has power 1 and log u weight 1, as in the theory, where that code has
1.25 for both. Like there, u stops at e²⁰, past which it has no gradient. The authors published none.
"""

import math
from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import PerResponse, bradley_terry, capped_exp


@dataclass(frozen=True)
class ChiPO(FromPairs):
    """−log σ(clip(β [φ(u_w) − φ(u_l)], ± 2 R)),  φ(u) = u + log u,  u = π_θ(y|x) / π_ref(y|x).

    φ is f′ of the divergence ½ E_ref (u − 1)² + KL(π_θ ‖ π_ref): no probability rises by much.
    """

    beta: float = 0.1
    max_reward: float = math.inf  # R, the range of the true reward; pairs past it teach nothing

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * link(pairs.chosen.logratios)
        rejected = self.beta * link(pairs.rejected.logratios)
        margin = (chosen - rejected).clamp(-2 * self.max_reward, 2 * self.max_reward)
        return Loss(
            policy=Mean.over(bradley_terry(margin)),
            metrics={"chosen": chosen, "rejected": rejected},
        )


def link(logratios: PerResponse) -> PerResponse:
    """φ(u) = u + log u."""
    return capped_exp(logratios) + logratios
