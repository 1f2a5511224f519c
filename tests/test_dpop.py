"""DPOP: the price of a chosen response that fell."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPOP
from tests.arms import pair
from tests.samples import value


@pytest.mark.parametrize(
    ("chosen", "rejected", "margin", "lost"),
    [(2.0, -1.0, 1.5, 0.0), (-1.0, -4.0, 0.5, 1.0)],  # ½ (3 − 2 · 1)
)
def test_worked_by_hand(chosen, rejected, margin, lost):
    loss = DPOP(beta=0.5, lam=2.0).loss(pair(chosen, rejected))
    assert_close(value(loss), tensor(math.log1p(math.exp(-margin))))
    want = {"chosen": [chosen / 2], "rejected": [rejected / 2], "lost": [lost]}
    assert_close(loss.metrics, {name: tensor(x) for name, x in want.items()})


def test_what_fell_is_pulled_up_harder_than_the_rejected_is_pushed_down():
    h_w, h_l = (tensor([x], requires_grad=True) for x in (-1.0, -3.0))
    value(DPOP(beta=0.5, lam=2.0).loss(pair(h_w, h_l))).backward()
    assert_close(torch.cat([h_w.grad, h_l.grad]), 0.5 * 0.5 * tensor([-3.0, 1.0]))  # (1 + λ), at ½


def test_a_wide_margin_does_not_pay_for_a_fallen_chosen():
    """Both down by 5, the rejected by far more: DPO is content, DPOP is not."""
    assert value(DPOP(beta=0.3, lam=0.0).loss(pair(-5.0, -40.0))) < 1e-4
    assert value(DPOP(beta=0.3, lam=50.0).loss(pair(-5.0, -40.0))) > 60
