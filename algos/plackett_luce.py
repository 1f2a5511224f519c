"""Reward model from rankings of K answers, after Plackett and Luce (RM).

Zhu et al., 2023, https://arxiv.org/abs/2301.11270, for the estimator over K answers
Code: https://github.com/huggingface/trl (f2cd577, trl/trainer/reward_trainer.py), for pairs

Departures from that code: it has no rankings. Two answers are Bradley and Terry's. Answers of equal
reward are not ranked against each other.
"""

from dataclasses import dataclass

from .core import FromRankings, Loss, Mean, Rankings
from .ops import group_size, plackett_luce


@dataclass(frozen=True)
class PlackettLuce(FromRankings):
    """−Σ_k log [exp r_k / Σ_{j ≥ k} exp r_j], best first."""

    needs = frozenset({"score", "reward"})

    def loss(self, rankings: Rankings) -> Loss:
        score, reward = rankings.responses.score, rankings.responses.reward
        size = group_size(reward, rankings.prompt)
        return Loss(
            policy=Mean(size * plackett_luce(score, reward, rankings.prompt), 1 / size),
            metrics={"score": score},
        )
