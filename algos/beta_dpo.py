"""β-DPO: β follows the margins of the batch, and pairs with odd ones are left out.

Wu et al., 2024, https://arxiv.org/abs/2407.08639
Code: https://github.com/junkangwu/beta-DPO (1629047, trainers.py)

Departures from that code: margins are those of rewards, β times those of that code, which runs ours
at α/β: recipe `beta_dpo_authors_code`. At least one pair is kept, where that code keeps none of a
batch of one, and a batch without spread keeps pairs as if all were equally odd, where it divides by
zero. The pairs are drawn in the order of their margins, so that the order of the batch is nothing.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .core import Credits, FromPairs, Loss, Mean, Pairs
from .ops import PerResponse, bradley_terry, without_replacement

MIN_BETA = 1e-3  # as in the authors' code


@dataclass(frozen=True)
class Credit:
    beta: Float[Tensor, ""]  # of this batch
    kept: PerResponse  # 1 for the pairs that are learned from, else 0


@dataclass(frozen=True)
class State:
    mean: Float[Tensor, ""]  # M₀, a moving average of the mean margin of a batch
    std: Float[Tensor, ""]  # s, one of its standard deviation


@dataclass(frozen=True)
class BetaDPO(FromPairs, Credits):
    """−log σ(β′ [h_w − h_l]) over the pairs kept,  β′ = β (1 + α [mean M − M₀]),  M = β [h_w − h_l].

    The mean is that over the pairs kept, a share of the batch drawn without replacement with
    weights exp(−½ [(M − M₀) / s]²). M₀ and s are moving averages over batches, this one included.
    """

    first_step = "the pairs left out teach nothing"

    beta: float = 0.1
    alpha: float = 0.6  # how much β follows; 0 and keep = 1 recover DPO
    keep: float = 0.8  # share of the batch
    momentum: float = 0.9

    def start(self) -> State:
        return State(mean=torch.tensor(0.0), std=torch.tensor(0.0))

    def credit(self, pairs: Pairs, state: State, generator: torch.Generator):
        margin = self.beta * (pairs.chosen.logratios - pairs.rejected.logratios).detach()
        spread = margin.std() if len(margin) > 1 else torch.zeros_like(margin).sum()
        mean = self.momentum * state.mean + (1 - self.momentum) * margin.mean()
        std = self.momentum * state.std + (1 - self.momentum) * spread

        oddness = ((margin - mean) / std.clamp(min=1e-8)) ** 2
        order = margin.argsort()
        count = max(1, int(len(margin) * self.keep))
        kept = torch.zeros_like(margin)
        kept[order[without_replacement(-0.5 * oddness[order], count, generator)]] = 1.0

        gap = (kept * margin).sum() / count - mean
        beta = (self.beta * (1 + self.alpha * gap)).clamp(min=MIN_BETA)
        return Credit(beta, kept), State(mean, std)

    def loss(self, pairs: Pairs) -> Loss:
        margin = pairs.chosen.logratios - pairs.rejected.logratios
        return Loss(
            policy=Mean(bradley_terry(pairs.credit.beta * margin), pairs.credit.kept),
            metrics={"margin": margin, "beta": pairs.credit.beta.expand_as(margin)},
        )
