"""DPO-Positive (DPOP), the loss of Smaug.

Pal et al., 2024, https://arxiv.org/abs/2402.13228, eq. 3
Code: https://github.com/sail-sg/oat (c1a074c, oat/learners/loss.py)

Departures from that code: none known. The authors published none. The penalty stands inside β and
the sigmoid; there is code that subtracts it from the loss, which rewards what it should prevent.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class DPOP(FromPairs):
    """−log σ(β [h_w − h_l − λ max(0, −h_w)]),  h = log π_θ(y|x) − log π_ref(y|x)."""

    beta: float = 0.3
    lam: float = 50.0  # price of a chosen response less likely than before; 0 recovers DPO

    def loss(self, pairs: Pairs) -> Loss:
        chosen, rejected = pairs.chosen.logratios, pairs.rejected.logratios
        lost = (-chosen).relu()
        return Loss(
            policy=Mean.over(bradley_terry(self.beta * (chosen - rejected - self.lam * lost))),
            metrics={"chosen": self.beta * chosen, "rejected": self.beta * rejected, "lost": lost},
        )
