"""Reward model from rankings of K answers, pair by pair (RM).

Ouyang et al., 2022, https://arxiv.org/abs/2203.02155, eq. 1
Code: https://github.com/LAION-AI/Open-Assistant (f1e6ed9, model_training/utils/losses.py), not theirs

Departures from that code: its penalty on large scores is left out; its option to average over the pairs
of all prompts at once, too. Answers of equal reward make no pair, and a prompt without a pair does not
count.
"""

from dataclasses import dataclass

from .core import FromRankings, Loss, Mean, Rankings
from .ops import beats, bradley_terry


@dataclass(frozen=True)
class PairwiseK(FromRankings):
    """−log σ(r_i − r_j), averaged over the pairs of a prompt in which i is better, then over prompts."""

    needs = frozenset({"score", "reward"})

    def loss(self, rankings: Rankings) -> Loss:
        score = rankings.responses.score
        better = beats(rankings.responses.reward, rankings.prompt)
        i, j = better.nonzero(as_tuple=True)
        same = rankings.prompt[i, None] == rankings.prompt[None, i]
        pairs = same.sum(-1).to(score.dtype)  # of the prompt to which each pair belongs
        return Loss(
            policy=Mean(bradley_terry(score[i] - score[j]), 1 / pairs), metrics={"score": score}
        )
