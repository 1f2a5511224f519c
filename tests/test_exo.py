"""EXO: the KL from the policy's view of a pair to that of the labels."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import EXO
from tests.arms import pair
from tests.samples import value


def test_worked_by_hand():
    # z = log 3: q = (¾, ¼); ε = ¼ is what it says, and ε = ½ costs ¾ log 3/2 + ¼ log ½
    three = pair(2 * math.log(3), 0.0)
    assert_close(value(EXO(beta=0.5, epsilon=0.25).loss(three)), tensor(0.0))
    want = 0.75 * math.log(1.5) - 0.25 * math.log(2)
    loss = EXO(beta=0.5, epsilon=0.5).loss(three)
    assert_close(value(loss), tensor(want))
    assert_close(loss.metrics, {"chosen": tensor([math.log(3)]), "rejected": tensor([0.0])})


@pytest.mark.parametrize("h", [-20.0, -1.0, 0.0, 3.0, 40.0])
def test_gradient(h):
    """β q_w q_l (z − logit(1 − ε)): it vanishes on the far wrong side, where DPO's is largest."""
    x = tensor([h], dtype=torch.float64, requires_grad=True)
    value(EXO(beta=0.3, epsilon=0.1).loss(pair(x, 0.0))).backward()
    q = torch.sigmoid(0.3 * x.detach())
    assert_close(x.grad, 0.3 * q * (1 - q) * (0.3 * x.detach() - math.log(9)))


def test_is_never_negative_and_ends_at_the_odds_of_being_wrong():
    h = torch.linspace(-2000, 2000, 41, dtype=torch.float64)
    terms = EXO(beta=0.1).loss(pair(h, 0 * h)).parts["policy"].terms
    assert (terms >= 0).all()
    assert_close(terms[0].item(), -math.log(1e-3))
    assert_close(terms[-1].item(), -math.log1p(-1e-3))
