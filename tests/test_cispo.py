"""CISPO: every token keeps its gradient; what is clipped is how much it weighs."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import CISPO, GRPO
from tests.arms import rollouts
from tests.samples import credited, value

RATIO = tensor([[1.5, 1.1, 0.9, 0.1]])


def step(algo, advantage: float):
    """(value, gradient, metrics) of one response with this advantage."""
    logps = RATIO.log().requires_grad_()
    data = rollouts(logps, torch.zeros(1), old=torch.zeros(1, 4))
    credit = type(credited(algo, data).credit)(tensor([advantage]))
    loss = algo.loss(data.replace(credit=credit))
    value(loss).backward()
    return value(loss).detach(), logps.grad, loss.metrics


@pytest.mark.parametrize(
    ("algo", "weights"),
    [
        (CISPO(), [1.2, 1.1, 0.9, 0.1]),
        (CISPO(clip_low=0.2), [1.2, 1.1, 0.9, 0.8]),
        (CISPO(clip_high=math.inf), [1.5, 1.1, 0.9, 0.1]),
    ],
    ids=str,
)
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_weight_table(algo, weights, advantage):
    """−w A log π_θ, w as a number: no gradient goes through it. A mean over tokens."""
    weights = tensor([weights])
    total, gradient, metrics = step(algo, advantage)
    assert_close(gradient, -advantage * weights / 4)
    assert_close(total, (-advantage * weights * RATIO.log()).mean())
    assert_close(metrics["clipfrac"], (weights != RATIO).float()[0])
    assert_close(metrics["ratio"], RATIO[0])


def test_where_the_surrogate_stops_cispo_goes_on():
    for advantage, stopped in ((1.0, 0), (-1.0, 3)):
        assert step(GRPO(kl_coef=0.0), advantage)[1][0, stopped] == 0
        assert (step(CISPO(), advantage)[1] != 0).all()


def test_tokens_of_long_and_short_responses_count_the_same():
    mask = tensor([[True, False, False], [True, True, True]])
    logps = torch.zeros(2, 3, requires_grad=True)
    data = credited(CISPO(), rollouts(logps, tensor([0.0, 1.0]), mask=mask))
    value(CISPO().loss(data)).backward()
    want = torch.where(mask, -data.credit.advantages[:, None] / 4, 0.0)
    assert_close(logps.grad, want)
