"""RTO's rewards by hand, what they add up to, and PPO without them. Optima: test_bandit.py."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import PPO, RTO
from tests.samples import batch, credited, value
from tests.test_ppo import rollouts


def test_credit_by_hand():
    # β₁ = ½: ½ (0.4, −2); β₂ = 0.2: k1 = (½, 1), −(0.1, 0.2); β₃ = 2: 2 · 1 at the last
    # r = (0.1, 0.8); V = (½, ¼), γ = 1, λ = 0: δ = (0.1 + ¼ − ½, 0.8 − ¼) = (−0.15, 0.55)
    zeros = torch.zeros(1, 2)
    data = rollouts(zeros, zeros, tensor([[-0.5, -1.0]]), tensor([[0.5, 0.25]]), tensor([1.0]))
    data = data.replace(token_rewards=tensor([[0.4, -2.0]]))
    credit = credited(RTO(beta1=0.5, beta2=0.2, beta3=2.0, lam=0.0), data).credit
    assert_close(credit.returns, tensor([[0.35, 0.8]]))
    assert_close(credit.advantages, tensor([[-1.0, 1.0]]) * 0.5**0.5)


def test_token_rewards_are_clipped_as_they_count():
    # ½ (0.4, −2, 0.1) within ±0.15, V = 0, γ = λ = 1: returns are sums from behind
    zeros = torch.zeros(1, 3)
    data = rollouts(zeros, zeros, zeros, zeros, tensor([0.0]))
    data = data.replace(token_rewards=tensor([[0.4, -2.0, 0.1]]))
    credit = credited(RTO(beta1=0.5, token_clip=0.15, lam=1.0), data).credit
    assert_close(credit.returns, tensor([[0.05, -0.1, 0.05]]))


def test_token_rewards_add_up_to_the_log_ratio_of_the_teacher():
    """At γ = λ = 1 and V = 0 the first return is β₁ (log π_dpo(y) − log π_ref(y)) − β₂ Σ k1 + β₃ r."""
    torch.manual_seed(0)
    data = batch(RTO())
    data = data.replace(critic=data.critic.replace(old_values=0 * data.critic.old_values))
    mask, ref = data.responses.mask, data.responses.token_ref_logps
    teacher = -torch.rand(ref.shape)
    data = data.replace(token_rewards=torch.where(mask, teacher - ref, torch.nan))
    dpo, old, there = (
        data.responses.replace(token_logps=x).logps for x in (teacher, data.token_old_logps, ref)
    )
    credit = credited(RTO(beta1=0.3, beta2=0.2, beta3=0.7, lam=1.0), data).credit
    want = 0.3 * (dpo - there) - 0.2 * (old - there) + 0.7 * data.rewards
    assert_close(credit.returns[:, 0], want)


@pytest.mark.parametrize(
    "knobs", [{}, {"kl_coef": 0.3, "lam": 0.5, "clip": math.inf, "value_clip": 0.01}], ids=str
)
def test_without_token_rewards_it_is_ppo_bit_for_bit(knobs):
    torch.manual_seed(0)
    ppo = PPO(**knobs)
    same = {name: x for name, x in vars(ppo).items() if name != "kl_coef"}
    rto = RTO(beta1=0.0, beta2=ppo.kl_coef, **same)
    one = batch(rto)
    data = [credited(algo, one) for algo in (rto, ppo)]
    for x, y in zip(*(vars(d.credit).values() for d in data), strict=True):
        assert torch.equal(x, y)
    losses = [value(algo.loss(d)) for algo, d in zip((rto, ppo), data, strict=True)]
    assert torch.equal(*losses)
    leaves = [one.responses.token_logps, one.critic.values]
    for x, y in zip(*(torch.autograd.grad(loss, leaves) for loss in losses), strict=True):
        assert torch.equal(x, y)
