"""The hinge of RSO: a slope of β up to a margin of 1, then nothing."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import RSO
from tests.arms import pair
from tests.samples import value


def test_worked_by_hand():
    # h_w = 1, h_l = −½, β = ½: 1 − ¾
    loss = RSO(beta=0.5).loss(pair(1.0, -0.5))
    assert_close(value(loss), tensor(0.25))
    assert_close(loss.metrics, {"chosen": tensor([0.5]), "rejected": tensor([-0.25])})


def test_slope():
    h = tensor([-300.0, 0.0, 1.9, 2.1, 300.0], requires_grad=True)
    still = torch.zeros(5, requires_grad=True)
    terms = RSO(beta=0.5).loss(pair(h, still)).parts["policy"].terms
    assert_close(terms, tensor([151.0, 1.0, 0.05, 0.0, 0.0]))
    terms.sum().backward()
    assert_close(h.grad, tensor([-0.5, -0.5, -0.5, 0.0, 0.0]))
    assert_close(still.grad, -h.grad)
