"""GRPO: its loss by hand, and what its price of distance pulls along."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import GRPO
from tests.arms import rollouts
from tests.samples import credited, value


def test_a_mean_of_means_by_hand():
    # A = ±1/√2 (to 1e-4); ρ = 1.1 on one token, 0.9 and 0.9 on two: means first, then responses
    mask = tensor([[True, False], [True, True]])
    logps = tensor([[1.1, 5.0], [0.9, 0.9]]).log()
    data = rollouts(logps, tensor([1.0, 0.0]), old=torch.zeros(2, 2), ref=logps, mask=mask)
    loss = GRPO().loss(credited(GRPO(), data))
    assert_close(value(loss), tensor(-(1.1 - 0.9) / 2 * 0.5**0.5), atol=2e-5, rtol=0)
    assert_close(loss.metrics["ratio"], tensor([1.1, 0.9, 0.9]))
    assert not loss.metrics["clipfrac"].any()


@pytest.mark.parametrize("correction", [0.0, 1.0])
def test_the_price_of_distance_by_hand(correction):
    # log-ratios log 2 and −log 2 to the reference: k3 = ½ − 1 + log 2 and 2 − 1 − log 2, a mean of
    # two tokens; ρ = 3 and ⅓. d k3 = 1 − 1/q; with ρ in front, ρ (k3 + d k3)
    logps = tensor([[2.0, 0.5]], dtype=torch.float64).log().requires_grad_()
    old = logps.detach() - tensor([[3.0, 1 / 3]], dtype=torch.float64).log()
    zeros = torch.zeros_like(old)
    algo = GRPO(kl_coef=0.5, kl_correction=correction)
    one = torch.ones(1, dtype=torch.float64)
    loss = algo.loss(credited(algo, rollouts(logps, one, old=old, ref=zeros)))
    k = tensor([math.log(2) - 0.5, 1 - math.log(2)], dtype=torch.float64)
    slope, ratio = tensor([0.5, -1.0]).double(), tensor([3.0, 1 / 3], dtype=torch.float64)
    want, pull = (k, slope) if correction == 0 else (ratio * k, ratio * (k + slope))
    assert_close(value(loss).detach(), 0.5 * want.mean())
    assert_close(loss.metrics["k3"], k)
    value(loss).backward()
    assert_close(logps.grad, 0.25 * pull[None])


def test_the_corrected_price_has_the_gradient_of_the_kl():
    """Σ_a π_old ∇(ρ k3) = ∇KL(π_θ ‖ π_ref), on-policy and off; without ρ, on-policy, it is that of
    KL(π_ref ‖ π_θ).
    """
    ref = tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    logits = tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(-1)
    reverse, forward = (logp.exp() * (logp - ref)).sum(), (ref.exp() * (ref - logp)).sum()
    elsewhere = tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()
    for correction, old, kl in (
        (1.0, logp.detach(), reverse),
        (1.0, elsewhere, reverse),
        (0.0, logp.detach(), forward),
    ):
        data = rollouts(logp[:, None], torch.zeros(4).double(), old=old[:, None], ref=ref[:, None])
        algo = GRPO(kl_coef=1.0, kl_correction=correction)
        price = algo.loss(credited(algo, data)).parts["kl"].terms
        got = torch.autograd.grad((old.exp() * price).sum(), logits, retain_graph=True)
        assert_close(got, torch.autograd.grad(kl, logits, retain_graph=True))
