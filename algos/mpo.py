"""Mixed Preference Optimization (MPO): which is better, how good each is, and how to write it.

Wang et al., 2024, https://arxiv.org/abs/2411.10442, section 3.2
Code: https://github.com/OpenGVLab/InternVL (2410d1d, internvl_chat/internvl/train/trainer_dpo.py)

Departures from that code: the likelihood of each chosen response is divided by its own length, as
printed, where that code, like TRL, divides by the tokens of the batch. The shift δ averages all
rewards so far, each with the same weight, where that code averages the means of its micro-batches;
TRL since 0.29 has none.
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
class MPO(FromPairs, Credits):
    """−w_p log σ(r_w − r_l) − w_q [log σ(r_w − δ) + log σ(δ − r_l)] − w_g log π_θ(y_w|x) / |y_w|.

    r = β [log π_θ(y|x) − log π_ref(y|x)]; δ is the mean of the rewards r of both responses, over
    this batch and all before.
    """

    beta: float = 0.1
    preference_coef: float = 0.8  # w_p
    quality_coef: float = 0.2  # w_q
    generation_coef: float = 1.0  # w_g

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
        quality = bradley_terry(chosen - shift) + bradley_terry(shift - rejected)
        return Loss(
            policy=Mean.over(bradley_terry(chosen - rejected), coef=self.preference_coef),
            quality=Mean.over(quality, coef=self.quality_coef),
            generation=Mean.over(-pairs.chosen.mean_logps, coef=self.generation_coef),
            metrics={"chosen": chosen, "rejected": rejected},
        )
