"""A classifier of answers: the numbers. What it is calibrated to: test_bandit.py."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import Pointwise
from tests.samples import batch, value


def test_worked_by_hand():
    data = batch(Pointwise())[:2]
    assert data.desirable.tolist() == [True, False]
    score = tensor([2.0, 0.5], requires_grad=True)
    loss = Pointwise().loss(data.replace(responses=data.responses.replace(score=score)))
    assert_close(value(loss), tensor((math.log1p(math.exp(-2)) + math.log1p(math.exp(0.5))) / 2))
    assert_close(loss.metrics, {"score": score.detach()})
    value(loss).backward()
    want = (torch.sigmoid(score.detach()) - tensor([1.0, 0.0])) / 2  # σ(r) − label
    assert_close(score.grad, want)


def test_turned_round_it_is_the_same():
    data = batch(Pointwise())
    other = data.replace(
        desirable=~data.desirable, responses=data.responses.replace(score=-data.responses.score)
    )
    assert_close(value(Pointwise().loss(other)), value(Pointwise().loss(data)))
