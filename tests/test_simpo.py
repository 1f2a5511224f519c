"""SimPO: length does not count, and the margin is asked for. Its optimum: test_bandit.py."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import SimPO
from algos.core import Pairs, Responses
from tests.samples import batch, value


def response(*logps: float) -> Responses:
    return Responses(token_logps=tensor([logps]), mask=torch.ones(1, len(logps)).bool())


def test_worked_by_hand():
    # means −1 and −2, β = 2, γ = ½: margin 2 − ½
    pairs = Pairs(chosen=response(-0.5, -1.5), rejected=response(-2.0))
    loss = SimPO(beta=2.0, gamma=0.5).loss(pairs)
    assert_close(value(loss), tensor(math.log1p(math.exp(-1.5))))
    assert_close(loss.metrics, {"chosen": tensor([-2.0]), "rejected": tensor([-4.0])})


def test_saying_everything_twice_changes_nothing():
    pairs = batch(SimPO())

    def twice(side: Responses) -> Responses:
        return Responses(
            token_logps=side.token_logps.repeat(1, 2),
            mask=side.mask.repeat(1, 2),
        )

    doubled = pairs.replace(chosen=twice(pairs.chosen), rejected=twice(pairs.rejected))
    assert_close(value(SimPO().loss(doubled)), value(SimPO().loss(pairs)))


def test_equal_means_cost_log_two_without_a_margin():
    pairs = Pairs(chosen=response(-1.0, -3.0), rejected=response(-2.0))
    assert_close(value(SimPO(gamma=0.0).loss(pairs)), tensor(math.log(2)))
    assert_close(value(SimPO(gamma=3.0).loss(pairs)), tensor(math.log1p(math.exp(3))))
