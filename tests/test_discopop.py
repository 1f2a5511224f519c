"""DiscoPOP: two losses, and the hill between them."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, DiscoPOP
from tests.arms import pair
from tests.samples import value


def test_worked_by_hand():
    # z = 1.5, τ = 3: σ(½) = 0.622459 of the exponential
    loss = DiscoPOP(beta=0.5, tau=3.0).loss(pair(2.0, -1.0))
    want = 0.377541 * math.log1p(math.exp(-1.5)) + 0.622459 * math.exp(-1.5)
    assert_close(value(loss), tensor(want))
    assert_close(loss.metrics, {"chosen": tensor([1.0]), "rejected": tensor([-0.5])})


def test_is_dpo_far_on_the_wrong_side_and_exponential_on_the_right():
    h = tensor([-1e5, -100.0, 30.0, 200.0], dtype=torch.float64)
    terms = DiscoPOP().loss(pair(h, 0 * h)).parts["policy"].terms
    dpo = DPO(beta=0.05).loss(pair(h, 0 * h)).parts["policy"].terms
    assert_close(terms[:2], dpo[:2])
    assert_close(terms[2:], (-0.05 * h[2:]).exp())


@pytest.mark.parametrize(("z", "slope"), [(-0.2, -1), (-0.05, 1), (0.0, 1), (0.05, 1), (0.2, -1)])
def test_rises_around_the_reference(z, slope):
    """A minimum at z = −0.119 and a maximum at 0.072, where τ = 0.05."""
    h = tensor([z / 0.05], requires_grad=True)
    value(DiscoPOP().loss(pair(h, 0.0))).backward()
    assert h.grad.sign() == slope
