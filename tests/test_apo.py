"""APO: which way each side goes."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import APODown, APOZero
from tests.arms import pair
from tests.samples import value


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_worked_by_hand():
    # r_w = 1, r_l = −½
    rewards = {"chosen": tensor([1.0]), "rejected": tensor([-0.5])}
    zero, down = (algo.loss(pair(2.0, -1.0)) for algo in (APOZero(beta=0.5), APODown(beta=0.5)))
    assert_close(value(zero), tensor(1 - sigmoid(1.0) + sigmoid(-0.5)))
    assert_close(value(down), tensor(sigmoid(1.0) + 1 - sigmoid(1.5)))
    assert_close([zero.metrics, down.metrics], [rewards, rewards])


@pytest.mark.parametrize(
    ("algo", "chosen", "rejected"),
    [
        # −β σ′(r_w), β σ′(r_l)
        (APOZero(beta=0.5), -0.5 * 0.196612, 0.5 * 0.235004),
        # β [σ′(r_w) − σ′(r_w − r_l)], β σ′(r_w − r_l)
        (APODown(beta=0.5), 0.5 * (0.196612 - 0.149146), 0.5 * 0.149146),
    ],
    ids=str,
)
def test_slopes(algo, chosen, rejected):
    h_w, h_l = (tensor([x], requires_grad=True) for x in (2.0, -1.0))
    value(algo.loss(pair(h_w, h_l))).backward()
    assert_close(torch.cat([h_w.grad, h_l.grad]), tensor([chosen, rejected]), atol=1e-6, rtol=0)


def test_zero_pulls_up_and_down_wherever_it_stands():
    h = torch.linspace(-30, 30, 13, requires_grad=True)
    other = torch.linspace(20, -20, 13, requires_grad=True)
    APOZero().loss(pair(h, other)).parts["policy"].terms.sum().backward()
    assert (h.grad < 0).all()
    assert (other.grad > 0).all()
    assert (h.grad >= -0.025).all()  # β / 4
    assert (other.grad <= 0.025).all()


def test_down_lowers_the_chosen_once_the_rejected_is_lower():
    """At π_ref the two pulls on the chosen cancel; then it goes down, and the rejected faster."""
    h_w, h_l = (tensor([x], requires_grad=True) for x in (0.0, 0.0))
    value(APODown().loss(pair(h_w, h_l))).backward()
    assert_close(torch.cat([h_w.grad, h_l.grad]), tensor([0.0, 0.025]))
    h_w, h_l = (tensor([x], requires_grad=True) for x in (0.0, -5.0))
    value(APODown().loss(pair(h_w, h_l))).backward()
    assert 0 < h_w.grad < h_l.grad


def test_both_lie_between_nothing_and_two():
    h = torch.linspace(-1e4, 1e4, 9)
    for algo in (APOZero(), APODown()):
        terms = algo.loss(pair(h, -h)).parts["policy"].terms
        assert ((terms >= 0) & (terms <= 2)).all()
