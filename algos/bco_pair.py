"""Binary Classifier Optimization (BCO), on pairs.

Jung et al., 2024, https://arxiv.org/abs/2404.04656
Code: https://github.com/huggingface/trl (04fd120, v0.24.0, trl/trainer/dpo_trainer.py): bco_pair

Departures from that code: δ averages all rewards so far, each with the same weight, where that code
averages the means of its micro-batches. TRL since 0.29 has no δ, under the same name.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .core import Credits, FromPairs, Loss, Mean, Pairs
from .ops import bradley_terry, running_mean


@dataclass(frozen=True)
class Credit:
    shift: Float[Tensor, ""]  # δ


@dataclass(frozen=True)
class State:
    mean: Float[Tensor, ""]  # of all rewards so far
    count: Float[Tensor, ""]


@dataclass(frozen=True)
class BCOPair(FromPairs, Credits):
    """−log σ(r_w − δ) − log σ(δ − r_l),  r = β [log π_θ(y|x) − log π_ref(y|x)].

    δ is the mean of the rewards r of both responses, over this batch and all before.
    """

    beta: float = 0.01

    def start(self) -> State:
        return State(mean=torch.tensor(0.0), count=torch.tensor(0.0))

    def credit(self, pairs: Pairs, state: State, generator: torch.Generator):
        rewards = self.beta * torch.cat([pairs.chosen.logratios, pairs.rejected.logratios])
        mean, count = running_mean(state.mean, state.count, rewards.detach())
        return Credit(shift=mean), State(mean, count)

    def loss(self, pairs: Pairs) -> Loss:
        chosen = self.beta * pairs.chosen.logratios
        rejected = self.beta * pairs.rejected.logratios
        shift = pairs.credit.shift
        return Loss(
            policy=Mean.over(bradley_terry(chosen - shift) + bradley_terry(shift - rejected)),
            metrics={"chosen": chosen, "rejected": rejected},
        )
