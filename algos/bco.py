"""Binary Classifier Optimization (BCO), from single labelled responses.

Jung et al., 2024, https://arxiv.org/abs/2404.04656
Code: https://github.com/huggingface/trl (f2cd577, trl/experimental/bco/bco_trainer.py)

Departures from that code: none known. The density ratio of the prompts of good answers to those of bad
ones (UDM), by which undesirable answers count, is estimated elsewhere and given as `weight`: 1 where
nobody said, within 0.5 and 10 there. The paper's δ is half the mean reward of good plus half that of bad
answers; that code, and this, averages over all that came by so far, the present batch included, which is
the same where good and bad are as many. TRL's `bco_pair` is another loss since version 0.29: it has no δ.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .core import Credits, FromLabels, Labels, Loss, Mean
from .ops import bradley_terry, running_mean


@dataclass(frozen=True)
class State:
    mean: Float[Tensor, ""]  # of the implicit rewards so far
    count: Float[Tensor, ""]  # how many they were


@dataclass(frozen=True)
class Credit:
    shift: Float[Tensor, ""]  # δ


@dataclass(frozen=True)
class BCO(FromLabels, Credits):
    """−w log σ(r − δ) where desirable, −w log σ(δ − r) where not,  r = β log π_θ(y|x) / π_ref(y|x).

    δ is the running mean of r over all responses seen, without gradient.
    """

    needs = FromLabels.needs | {"weight"}

    beta: float = 0.01

    def start(self) -> State:
        return State(torch.zeros(()), torch.zeros(()))

    def credit(self, labels: Labels, state: State, generator: torch.Generator):
        rewards = self.beta * labels.responses.logratios.detach()
        mean, count = running_mean(state.mean, state.count, rewards)
        return Credit(mean), State(mean, count)

    def loss(self, labels: Labels) -> Loss:
        rewards = self.beta * labels.responses.logratios
        sign = torch.where(labels.desirable, 1.0, -1.0)
        return Loss(
            policy=Mean.over(labels.weight * bradley_terry(sign * (rewards - labels.credit.shift))),
            metrics={"reward": rewards},
        )
