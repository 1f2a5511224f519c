"""Reward model from single labelled answers, a classifier (RM).

Jung et al., 2024, https://arxiv.org/abs/2404.04656, whose policies are such classifiers
Code: https://github.com/huggingface/trl (f2cd577, trl/experimental/bco/bco_trainer.py)

Departures from that code: the score of a head stands for the implicit reward, without a shift or weights.
"""

from dataclasses import dataclass

import torch

from .core import FromLabels, Labels, Loss, Mean
from .ops import bradley_terry


@dataclass(frozen=True)
class Pointwise(FromLabels):
    """−log σ(r) where desirable, −log σ(−r) where not: r is the log-odds of a good answer."""

    needs = frozenset({"score"})

    def loss(self, labels: Labels) -> Loss:
        score = labels.responses.score
        sign = torch.where(labels.desirable, 1.0, -1.0)
        return Loss(policy=Mean.over(bradley_terry(sign * score)), metrics={"score": score})
