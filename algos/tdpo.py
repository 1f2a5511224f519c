"""Token-level Direct Preference Optimization (TDPO1, TDPO2).

Zeng et al., 2024, https://arxiv.org/abs/2404.11999
Code: https://github.com/Vance0124/Token-level-Direct-Preference-Optimization (2a736ec, trainers.py)

Departures from that code: logs the margin of DPO and the drift apart, where that code adds the KL
to the implicit rewards and counts their accuracy so. Its default configuration trains TDPO1.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry


@dataclass(frozen=True)
class TDPO1(FromPairs):
    """−log σ(β [h_w − h_l − (K_l − K_w)]),  K = Σ_t KL(π_ref ‖ π_θ) along the response."""

    needs = FromPairs.needs | {"token_ref_kl"}

    beta: float = 0.1

    def loss(self, pairs: Pairs) -> Loss:
        margin = pairs.chosen.logratios - pairs.rejected.logratios
        drift = pairs.rejected.ref_kl - pairs.chosen.ref_kl
        return Loss(
            policy=Mean.over(bradley_terry(self.beta * (margin - drift))),
            metrics={"margin": margin, "drift": drift},
        )


@dataclass(frozen=True)
class TDPO2(FromPairs):
    """−log σ(β [h_w − h_l − α (K_l − sg K_w)])."""

    needs = FromPairs.needs | {"token_ref_kl"}

    beta: float = 0.1
    alpha: float = 0.5  # 0 recovers DPO

    def loss(self, pairs: Pairs) -> Loss:
        margin = pairs.chosen.logratios - pairs.rejected.logratios
        drift = pairs.rejected.ref_kl - pairs.chosen.ref_kl.detach()  # chosen is only a yardstick
        return Loss(
            policy=Mean.over(bradley_terry(self.beta * (margin - self.alpha * drift))),
            metrics={"margin": margin, "drift": drift},
        )
