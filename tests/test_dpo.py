"""DPO against its paper: by hand, and by the identity it turns on. Its optimum: test_bandit.py."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO
from algos.core import Pairs
from tests.arms import tokens
from tests.samples import batch, value


def test_worked_by_hand():
    # h_w = 2, h_l = -1, β = ½: margin 3/2, loss log(1 + e^{-3/2})
    pairs = Pairs(
        chosen=tokens(tensor([-1.0]), tensor([-3.0])),
        rejected=tokens(tensor([-2.0]), tensor([-1.0])),
    )
    loss = DPO(beta=0.5).loss(pairs)
    assert_close(value(loss), tensor(math.log1p(math.exp(-1.5))))
    assert_close(loss.metrics, {"chosen": tensor([1.0]), "rejected": tensor([-0.5])})


def test_constant_shift_of_both_cancels():
    """log Z(x) is the same for both responses, so it must not matter (eq. 5)."""
    p, q, ref = -torch.rand(3, 8)
    before = DPO().loss(Pairs(chosen=tokens(p, ref), rejected=tokens(q, ref)))
    after = DPO().loss(Pairs(chosen=tokens(p + 5, ref), rejected=tokens(q + 5, ref)))
    assert_close(after.parts["policy"].terms, before.parts["policy"].terms)


def test_only_the_distance_from_the_reference_counts():
    pairs = batch(DPO())
    moved = pairs.replace(
        rejected=pairs.rejected.replace(
            token_logps=pairs.rejected.token_logps - 2,
            token_ref_logps=pairs.rejected.token_ref_logps - 2,
        )
    )
    assert_close(value(DPO().loss(moved)), value(DPO().loss(pairs)))


def test_falls_with_the_margin_and_never_pulls_harder_than_beta():
    h = torch.linspace(-300, 300, 41, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros_like(h).detach()
    pairs = Pairs(chosen=tokens(h, zero), rejected=tokens(zero, zero))
    terms = DPO(beta=0.1).loss(pairs).parts["policy"].terms
    (slope,) = torch.autograd.grad(terms.sum(), h)
    assert (terms.diff() < 0).all()
    assert (slope < 0).all()
    assert (slope >= -0.1).all()
    assert_close(slope[0].item(), -0.1)
    assert_close(terms[0].item(), 0.1 * 300)  # −log σ(−βh) without underflow


def test_two_mirrored_pairs_pull_nowhere():
    """A pair and the same pair turned round: at the reference the gradients cancel."""
    h = torch.zeros(2, requires_grad=True)
    w, l = tensor([0, 1]), tensor([1, 0])
    zero = torch.zeros(2)
    value(DPO().loss(Pairs(chosen=tokens(h[w], zero), rejected=tokens(h[l], zero)))).backward()
    assert_close(h.grad, zero)
