"""f-DPO: DPO with another divergence in place of the reverse KL.

Wang et al., 2023, https://arxiv.org/abs/2309.16240
Code: https://github.com/alecwangcq/f-divergence-dpo (07d9369, trainers.py)

Departures from that code: powers of π_ref / π_θ stop at e²⁰, past which they have no gradient, where
those of that code overflow. TRL's α, since 0.29, is 1 minus this one.
"""

from dataclasses import dataclass

from .core import FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry, capped_exp


@dataclass(frozen=True)
class FDPOForwardKL(FromPairs):
    """−log σ(β [f′(u_w) − f′(u_l)]),  f′(u) = −1/u,  u = π_θ(y|x) / π_ref(y|x): KL(π_ref ‖ π_θ)."""

    beta: float = 0.1

    def loss(self, pairs: Pairs) -> Loss:
        chosen = -self.beta * capped_exp(-pairs.chosen.logratios)
        rejected = -self.beta * capped_exp(-pairs.rejected.logratios)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            metrics={"chosen": chosen, "rejected": rejected},
        )


@dataclass(frozen=True)
class FDPOJS(FromPairs):
    """f′(u) = log(2u / (1 + u)): the divergence of Jensen and Shannon."""

    beta: float = 0.1

    def loss(self, pairs: Pairs) -> Loss:
        # log(u / (1 + u)) = log σ(h); log 2 cancels
        chosen = -self.beta * bradley_terry(pairs.chosen.logratios)
        rejected = -self.beta * bradley_terry(pairs.rejected.logratios)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            metrics={"chosen": chosen, "rejected": rejected},
        )


@dataclass(frozen=True)
class FDPOAlpha(FromPairs):
    """f′(u) = (1 − u^−α) / α,  0 < α < 1: DPO as α → 0, the forward KL as α → 1."""

    beta: float = 0.1
    alpha: float = 0.5

    def loss(self, pairs: Pairs) -> Loss:
        scale = self.beta / self.alpha
        chosen = -scale * capped_exp(-self.alpha * pairs.chosen.logratios)
        rejected = -scale * capped_exp(-self.alpha * pairs.rejected.logratios)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected)),
            metrics={"chosen": chosen, "rejected": rejected},
        )
