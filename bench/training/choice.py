"""Which two of a prompt's answers are compared: (Float[P, n] rewards, generator) -> Int[P, 2], the
better one first. Two of one reward say nothing and make no pair."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Choice = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class BestAndWorst:
    """The answers of the highest and of the lowest reward."""

    def __call__(self, rewards: Tensor, generator: torch.Generator) -> Tensor:
        return torch.stack([rewards.argmax(1), rewards.argmin(1)], 1)


@dataclass(frozen=True)
class RejectionSampled:
    """Two answers as if drawn from π ∝ π_θ exp(r / β), by rejection among a prompt's n.

    RSO, Liu et al., 2023, https://arxiv.org/abs/2309.06657, section 3.1 and algorithm 1: answers are
    taken up in turn, each accepted with probability exp[(r − r_max) / β], where r_max is the highest
    reward among those that were not accepted in an earlier round.
    """

    beta: float = 0.5  # in units of reward; 0 takes the two best, infinity any two

    def __call__(self, rewards: Tensor, generator: torch.Generator) -> Tensor:
        return torch.stack([self._two(row, generator) for row in rewards])

    def _two(self, rewards: Tensor, generator: torch.Generator) -> Tensor:
        accepted: list[int] = []
        while len(accepted) < 2:
            left = [i for i in range(len(rewards)) if i not in accepted]
            highest = rewards[left].max()
            for i in left:
                drop = (rewards[i] - highest).double() / self.beta if self.beta else -torch.inf
                odds = 1.0 if rewards[i] == highest else float(torch.as_tensor(drop).exp())
                if torch.rand((), generator=generator, dtype=torch.float64) < odds:
                    accepted.append(i)
        first, second = accepted[:2]
        better = (first, second) if rewards[first] >= rewards[second] else (second, first)
        return torch.tensor(better)
