"""AlphaPO: the shape of its reward, and SimPO as its limit."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import AlphaPO, SimPO
from algos.alphapo import shaped
from algos.core import Pairs
from tests.arms import tokens
from tests.samples import batch, value


def test_worked_by_hand():
    # p = ½ and ¼, α = 2: r = (1 − 4)/2 and (1 − 16)/2, a margin of 6; β = ½, γ = 1: 2
    no = tensor([math.nan])
    pairs = Pairs(chosen=tokens(tensor([0.5]).log(), no), rejected=tokens(tensor([0.25]).log(), no))
    loss = AlphaPO(beta=0.5, gamma=1.0, alpha=2.0).loss(pairs)
    assert_close(value(loss), tensor(math.log1p(math.exp(-2.0))))
    assert_close(loss.metrics, {"chosen": tensor([-0.75]), "rejected": tensor([-3.75])})


@pytest.mark.parametrize("alpha", [0.0, 1e-9])
def test_without_a_shape_it_is_simpo(alpha):
    pairs = batch(SimPO())
    logps = (pairs.chosen.token_logps, pairs.rejected.token_logps)
    one, two = (
        (loss := value(algo.loss(pairs)), *torch.autograd.grad(loss, logps))
        for algo in (AlphaPO(beta=2.0, gamma=0.5, alpha=alpha), SimPO(beta=2.0, gamma=0.5))
    )
    assert_close(one, two)


@pytest.mark.parametrize("alpha", [-0.5, 1e-3, 0.25, 2.0])
def test_shape_and_slope(alpha):
    """(1 − p^−α)/α has the slope p^−α in log p; in single precision, too."""
    logps = -torch.logspace(-6, 0.9, 40)
    exact = logps.double().requires_grad_()
    want = (1 - torch.exp(-alpha * exact)) / alpha
    (slope,) = torch.autograd.grad(want.sum(), exact)
    logps.requires_grad_()
    got = shaped(logps, alpha)
    (ours,) = torch.autograd.grad(got.sum(), logps)
    assert_close(got.double(), want, rtol=2e-6, atol=1e-9)
    assert_close(ours.double(), slope, rtol=2e-6, atol=0)


def test_reward_goes_on_along_a_line():
    logps = tensor([-79.99, -80.01, -1e4], dtype=torch.float64, requires_grad=True)
    got = shaped(logps, 0.25)
    (slope,) = torch.autograd.grad(got.sum(), logps)
    assert_close(got[0], got[1], rtol=1e-2, atol=0)
    assert_close(slope[1:], torch.full_like(slope[1:], math.expm1(20) / 20))
    assert_close(got[2], slope[2] * -1e4)
