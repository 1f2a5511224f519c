"""Rank Responses to align with Human Feedback (RRHF), as printed and as the authors run it.

Yuan et al., 2023, https://arxiv.org/abs/2304.05302, eq. 1 to 5
Code: https://github.com/GanjinZero/RRHF (e1a2b61, train.py): RRHFAuthorsCode

Departures from that code: it overwrites its labels before it counts them, so that its means are over
the padded length of the batch; here each response has its own length, as in the paper. Where several
share the best reward it imitates the first; here each counts as much. Its option to leave out given or
sampled responses belongs to the data, its exponent of the length is left at 1. The paper imitates the
whole best response, Σ_t log π_θ(y_t) (RRHF), that code its mean over tokens (RRHFAuthorsCode).
"""

from dataclasses import dataclass

import torch

from .core import FromRankings, Loss, Mean, Rankings
from .ops import PerResponse, beats, group_mean, group_size


def misranked(rankings: Rankings) -> PerResponse:
    """By how much, in nats a token, each response is likelier than those that beat it: a sum."""
    p = rankings.responses.mean_logps
    better = beats(rankings.responses.reward, rankings.prompt)
    return torch.where(better.T, p[:, None] - p[None, :], 0.0).relu().sum(-1)


def best(rankings: Rankings) -> PerResponse:
    """1 for the best response to each prompt, in equal shares where there are several."""
    reward, prompt = rankings.responses.reward, rankings.prompt
    unbeaten = (~beats(reward, prompt).any(0)).to(reward.dtype)
    return unbeaten / (group_size(reward, prompt) * group_mean(unbeaten, prompt))


@dataclass(frozen=True)
class RRHF(FromRankings):
    """c Σ max(0, ℓ̄_i − ℓ̄_j) over r_i < r_j, − ℓ of the best;  ℓ = log π_θ(y|x), ℓ̄ = ℓ / |y|."""

    needs = frozenset({"reward"})

    rank_coef: float = 1.0  # c

    def loss(self, rankings: Rankings) -> Loss:
        wrong, size = misranked(rankings), group_size(rankings.responses.reward, rankings.prompt)
        return Loss(
            policy=Mean(size * wrong, 1 / size, coef=self.rank_coef),
            nll=Mean(-rankings.responses.logps, best(rankings)),
            metrics={"misranked": wrong},
        )


@dataclass(frozen=True)
class RRHFAuthorsCode(FromRankings):
    """c Σ max(0, ℓ̄_i − ℓ̄_j) over r_i < r_j, − ℓ̄ of the best."""

    needs = frozenset({"reward"})

    rank_coef: float = 1.0

    def loss(self, rankings: Rankings) -> Loss:
        wrong, size = misranked(rankings), group_size(rankings.responses.reward, rankings.prompt)
        return Loss(
            policy=Mean(size * wrong, 1 / size, coef=self.rank_coef),
            nll=Mean(-rankings.responses.mean_logps, best(rankings)),
            metrics={"misranked": wrong},
        )
