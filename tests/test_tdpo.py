"""TDPO: how the drift enters, and on which side it has no gradient."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import TDPO1, TDPO2
from algos.core import Pairs
from tests.arms import tokens
from tests.samples import value


def pairs(chosen_kl: torch.Tensor, rejected_kl: torch.Tensor) -> Pairs:
    at = tensor([-1.0])  # h_w = h_l = 0
    return Pairs(
        chosen=tokens(at, at, token_ref_kl=chosen_kl),
        rejected=tokens(at, at, token_ref_kl=rejected_kl),
    )


def test_worked_by_hand():
    # K_w = 1, K_l = 3, β = ½: margin −½ · 2 = −1 for TDPO1 and half of it at α = ½
    drifted = pairs(tensor([[1.0]]), tensor([[3.0]]))
    assert_close(value(TDPO1(beta=0.5).loss(drifted)), tensor(math.log1p(math.e)))
    assert_close(value(TDPO2(beta=0.5, alpha=0.5).loss(drifted)), tensor(math.log1p(math.e**0.5)))
    for algo in (TDPO1(), TDPO2()):
        logged = algo.loss(drifted).metrics
        assert_close(logged, {"margin": tensor([0.0]), "drift": tensor([2.0])})


def test_margin_and_drift_together():
    # h_w = 1, h_l = −1, K_w = 3, K_l = 1: margin 2, drift −2, together 4 for TDPO1, 3 at α = ½
    zero = torch.zeros(1)
    data = Pairs(
        chosen=tokens(zero + 1, zero, token_ref_kl=tensor([[3.0]])),
        rejected=tokens(zero - 1, zero, token_ref_kl=tensor([[1.0]])),
    )
    assert_close(value(TDPO1(beta=0.5).loss(data)), tensor(math.log1p(math.exp(-2))))
    assert_close(value(TDPO2(beta=0.5, alpha=0.5).loss(data)), tensor(math.log1p(math.exp(-1.5))))


def test_drift_is_a_sum_over_tokens_not_a_mean():
    one, two = torch.zeros(1, 2), torch.ones(1, 2)
    data = pairs(torch.zeros(1, 1), torch.zeros(1, 1))
    wide = {"token_logps": one, "token_ref_logps": one, "mask": two.bool()}
    data = data.replace(
        chosen=data.chosen.replace(**wide, token_ref_kl=0 * two),
        rejected=data.rejected.replace(**wide, token_ref_kl=two),
    )
    assert_close(value(TDPO1(beta=0.5).loss(data)), tensor(math.log1p(math.e)))


def test_only_tdpo1_pulls_on_the_chosen_drift():
    # margin 0, so the gradient of the loss along the margin is −½; β = 1, α = 1
    for algo, want in [(TDPO1(beta=1.0), -0.5), (TDPO2(beta=1.0, alpha=1.0), 0.0)]:
        kl_w, kl_l = (tensor([[2.0]], requires_grad=True) for _ in "wl")
        value(algo.loss(pairs(kl_w, kl_l))).backward()
        assert_close(kl_l.grad, tensor([[0.5]]))
        assert (kl_w.grad if kl_w.grad is not None else torch.zeros(1, 1)).item() == want
