"""Length-normalized DPO: nats a token."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, DPONorm
from algos.core import Pairs, Responses
from tests.arms import spread
from tests.samples import batch, value


def test_worked_by_hand():
    # h_w = 2 over 4 tokens, h_l = −1 over 2, β = 2: rewards 1 and −1
    pairs = Pairs(chosen=spread(tensor([2.0]), [4]), rejected=spread(tensor([-1.0]), [2]))
    loss = DPONorm(beta=2.0).loss(pairs)
    assert_close(value(loss), tensor(math.log1p(math.exp(-2))))
    assert_close(loss.metrics, {"chosen": tensor([1.0]), "rejected": tensor([-1.0])})


def test_of_equal_lengths_it_is_dpo_with_less_beta():
    pairs = Pairs(chosen=spread(torch.randn(8), [4] * 8), rejected=spread(torch.randn(8), [4] * 8))
    assert_close(value(DPONorm(beta=2.0).loss(pairs)), value(DPO(beta=0.5).loss(pairs)))


def test_saying_everything_twice_changes_nothing():
    pairs = batch(DPONorm())

    def twice(x):
        names = ("token_logps", "token_ref_logps", "mask")
        return Responses(**{n: getattr(x, n).repeat(1, 2) for n in names})

    double = Pairs(chosen=twice(pairs.chosen), rejected=twice(pairs.rejected))
    assert_close(value(DPONorm().loss(double)), value(DPONorm().loss(pairs)))
