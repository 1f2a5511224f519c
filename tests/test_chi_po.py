"""χPO: the link, its clip and its cap. Its optimum: test_bandit.py."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import ChiPO
from tests.arms import pair
from tests.samples import value


def test_worked_by_hand():
    # u = 2 and ½, β = 2: φ = 2 + log 2 and ½ − log 2
    loss = ChiPO(beta=2.0).loss(pair(math.log(2), -math.log(2)))
    assert_close(value(loss), tensor(math.log1p(math.exp(-3 - 4 * math.log(2)))))
    want = {"chosen": tensor([4 + 2 * math.log(2)]), "rejected": tensor([1 - 2 * math.log(2)])}
    assert_close(loss.metrics, want)


@pytest.mark.parametrize(("h", "margin", "moves"), [(0.5, 1.148721, True), (2.0, 3.0, False)])
def test_margins_past_what_rewards_allow_are_clipped(h, margin, moves):
    for sign in (1, -1):  # φ(e^½) − φ(1) = e^½ − ½, φ(e²) − φ(1) = e² + 1 and more than 2 · 1.5
        x = tensor([h], requires_grad=True)
        pairs = pair(x, 0.0) if sign > 0 else pair(0.0, x)
        loss = value(ChiPO(beta=1.0, max_reward=1.5).loss(pairs))
        assert_close(loss, tensor(math.log1p(math.exp(-sign * margin))))
        loss.backward()
        assert x.grad.bool().item() == moves


def test_rising_is_dearer_than_falling_is_cheap():
    """dφ/dh = u + 1: above the reference it grows like u, below it stays that of DPO."""
    x = tensor([-30.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ChiPO(beta=1.0).loss(pair(x, x.detach())).parts["policy"].terms
                                   .sum(), x)  # fmt: skip
    assert_close(-2 * slope, tensor([1.0, 2.0, math.exp(3) + 1], dtype=torch.float64))


def test_u_stops_at_a_cap_where_log_u_goes_on():
    x = tensor([25.0], dtype=torch.float64, requires_grad=True)
    loss = ChiPO(beta=1.0).loss(pair(x, x.detach()))
    assert_close(loss.metrics["chosen"].item(), math.exp(20) + 25)
    value(loss).backward()
    assert_close(x.grad.item(), -0.5)
