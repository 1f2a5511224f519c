"""f-DPO by hand and at its ends. The optimum of each divergence: test_bandit.py."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, FDPOJS, FDPOAlpha, FDPOForwardKL
from tests.arms import pair
from tests.samples import value

EVERY = [FDPOForwardKL(beta=0.5), FDPOJS(beta=0.5), FDPOAlpha(beta=0.5, alpha=0.5)]


@pytest.mark.parametrize(
    ("algo", "chosen", "rejected"),
    [  # u = 4 and ½
        (EVERY[0], -0.25, -2.0),  # −1/u
        (EVERY[1], math.log(0.8), math.log(1 / 3)),  # log(u / (1 + u))
        (EVERY[2], -1.0, -2 * math.sqrt(2)),  # −2 / √u
    ],
    ids=str,
)
def test_worked_by_hand(algo, chosen, rejected):
    loss = algo.loss(pair(math.log(4), -math.log(2)))
    assert_close(value(loss), tensor(math.log1p(math.exp((rejected - chosen) / 2))))
    half = {"chosen": tensor([chosen / 2]), "rejected": tensor([rejected / 2])}
    assert_close(loss.metrics, half)


@pytest.mark.parametrize("algo", EVERY, ids=str)
def test_near_the_reference_every_divergence_is_one(algo):
    """f″(1) = 1 makes them DPO there; of Jensen's and Shannon's it is a half."""
    h = tensor([1e-4], dtype=torch.float64, requires_grad=True)
    value(algo.loss(pair(h, 0.0))).backward()
    share = 0.5 if isinstance(algo, FDPOJS) else 1.0
    assert_close(h.grad, tensor([-0.25 * share], dtype=torch.float64), rtol=1e-3, atol=0)


@pytest.mark.parametrize("algo", EVERY, ids=str)
def test_falls_with_the_chosen_and_rises_with_the_rejected(algo):
    h = torch.linspace(-5, 3, 25, dtype=torch.float64)
    still = torch.zeros_like(h)
    assert (algo.loss(pair(h, still)).parts["policy"].terms.diff() < 0).all()
    assert (algo.loss(pair(still, h)).parts["policy"].terms.diff() > 0).all()


@pytest.mark.parametrize(("algo", "power"), [(EVERY[0], 1.0), (EVERY[2], 0.5)], ids=str)
def test_what_is_hopeless_stops_at_a_cap(algo, power):
    """(π_ref / π_θ)^α ≤ e²⁰; at the cap there is no gradient."""
    h = tensor([-1e4, -19 / power], requires_grad=True)
    terms = algo.loss(pair(h, torch.zeros(2))).parts["policy"].terms
    cap, below = (0.5 / power * (math.exp(x) - 1) for x in (20, 19))
    assert_close(terms, tensor([cap, below]))
    terms.sum().backward()
    assert h.grad[0] == 0
    assert h.grad[1] < -1e7


def test_that_of_jensen_and_shannon_has_no_cap():
    h = tensor([-1e4], requires_grad=True)
    loss = value(FDPOJS(beta=0.5).loss(pair(h, 0.0)))
    assert_close(loss.item(), 0.5 * (1e4 - math.log(2)))
    loss.backward()
    assert_close(h.grad, tensor([-0.5]))
    assert_close(value(DPO(beta=0.5).loss(pair(h, 0.0))).item(), 5e3)
