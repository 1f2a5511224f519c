"""Robust DPO: unbiased under flipped labels. Its optimum: test_bandit.py."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, RobustDPO
from algos.core import Pairs
from tests.arms import pair
from tests.samples import batch, value


def test_worked_by_hand():
    # h_w = 2, h_l = −1, β = ½, ε = ¼: [¾ L − ¼ (L + 1.5)] / ½ = L − ¾ with L = log(1 + e^−1.5)
    loss = RobustDPO(beta=0.5, epsilon=0.25).loss(pair(2.0, -1.0))
    assert_close(value(loss), tensor(math.log1p(math.exp(-1.5)) - 0.75))
    assert_close(loss.metrics, {"chosen": tensor([1.0]), "rejected": tensor([-0.5])})


def test_expected_over_flips_it_is_dpo():
    pairs = batch(DPO())
    turned = Pairs(chosen=pairs.rejected, rejected=pairs.chosen)
    right, wrong = (RobustDPO(epsilon=0.2).loss(p).parts["policy"].terms for p in (pairs, turned))
    assert_close(0.8 * right + 0.2 * wrong, DPO().loss(pairs).parts["policy"].terms)


def test_may_fall_below_zero_without_end():
    near, far = (value(RobustDPO().loss(pair(h, 0.0))) for h in (100.0, 1000.0))
    assert far < near < 0
    assert_close(far - near, tensor(-0.1 * 900 / 8), atol=1e-4, rtol=0)  # −β ε / (1 − 2ε) a nat


def test_is_no_steeper_than_where_labels_are_surely_wrong():
    h = torch.linspace(-300, 300, 41, requires_grad=True)
    terms = RobustDPO().loss(pair(h, 0 * h.detach())).parts["policy"].terms
    (slope,) = torch.autograd.grad(terms.sum(), h)
    assert (slope < 0).all()
    assert_close(slope[0].item(), -0.1 * 0.9 / 0.8)
    assert_close(slope[-1].item(), -0.1 * 0.1 / 0.8)
