"""The shared arithmetic, by hand and against definitions. Tables of PPO: test_golden.py."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos.ops import (
    at_last_token,
    capped_exp,
    gae,
    group_centred,
    group_mean,
    group_std,
    group_whitened,
    k1,
    k2,
    k3,
    leave_one_out,
    masked_mean,
    priced_rewards,
    running_mean,
    running_moments,
    same_rank,
    suffix_sum,
    whiten,
    without_replacement,
)

YES, NO, NAN = True, False, float("nan")


def test_gae_charges_gamma_where_the_caller_says():
    # two turns of two tokens, one foreign token between; γ = 0.9 at the first turn's end, else 1;
    # λ = ½, V = 0, reward 1 at the end: A = 1, ½ · 1, ½ · 0.9 · ½, ½ · 0.225
    mask = tensor([[YES, YES, NO, YES, YES]])
    zeros, discounts = torch.zeros(1, 5), tensor([[1.0, 0.9, 1.0, 1.0, 1.0]])
    rewards = at_last_token(tensor([1.0]), mask)
    want = tensor([[0.1125, 0.225, 0.0, 0.5, 1.0]])
    assert_close(gae(rewards, zeros, mask, discounts, lam=0.5), want)


def test_last_token_of_a_gapped_and_of_an_empty_response():
    mask = tensor([[YES, NO, YES, NO], [NO, NO, NO, NO]])
    got = at_last_token(tensor([3.0, 4.0]), mask)
    assert_close(got, tensor([[0.0, 0.0, 3.0, 0.0], [0.0] * 4]))


def test_sums_and_means_of_a_gapped_and_of_an_empty_response():
    mask = tensor([[YES, NO, YES, YES], [NO, NO, NO, NO]])
    x = tensor([[1.0, NAN, 3.0, 5.0], [NAN] * 4])
    assert_close(masked_mean(x, mask), tensor([3.0, 0.0]))
    assert_close(suffix_sum(x, mask), tensor([[9.0, 0.0, 8.0, 5.0], [0.0] * 4]))


def test_whiten_by_hand():
    # 1 and 3: mean 2, unbiased variance 2
    mask = tensor([[YES, NO, YES]])
    root = 2**-0.5
    assert_close(whiten(tensor([[1.0, 9.0, 3.0]]), mask), tensor([[-root, 0.0, root]]))
    # a tiny variance is not blown up: √(5e-9 + 1e-8), not √5e-9 + 1e-8
    small = whiten(tensor([[0.0, 9.0, 1e-4]], dtype=torch.float64), mask)
    assert_close(small[0, 2].item(), 5e-5 / 1.5e-8**0.5)


@pytest.mark.parametrize("mask", [[NO, NO], [YES, NO]])
def test_whiten_of_no_token_or_of_one(mask):
    assert_close(whiten(tensor([[5.0, 6.0]]), tensor([mask])), torch.zeros(1, 2))


def test_groups():
    x, group = tensor([1.0, 5.0, 3.0, 7.0]), tensor([4, 9, 4, 2])
    assert_close(group_mean(x, group), tensor([2.0, 5.0, 2.0, 7.0]))
    assert_close(group_std(x, group), tensor([2**0.5, 0.0, 2**0.5, 0.0]))
    assert_close(group_centred(x, group), tensor([-1.0, 0.0, 1.0, 0.0]))
    assert_close(leave_one_out(x, group), tensor([-2.0, 0.0, 2.0, 0.0]))
    size = 1 / (2**0.5 + 1e-4)
    assert_close(group_whitened(x, group), tensor([-size, 0.0, size, 0.0]))


def test_equals_are_exactly_at_their_mean():
    """Though the mean of seven times 0.1 is not 0.1, in either precision."""
    for kind in (torch.float32, torch.float64):
        x, group = torch.full((7,), 0.1, dtype=kind), torch.zeros(7, dtype=torch.long)
        for f in (group_centred, leave_one_out, group_whitened):
            assert not f(x, group).any()


def test_k3_stops_at_twenty_nats_below():
    x = tensor([[-1e4, -21.0, -19.0, 0.0, 1e4]], dtype=torch.float64, requires_grad=True)
    y = k3(x)
    assert_close(y[0, 0], tensor(20.0, dtype=torch.float64).exp() - 21)
    assert y[0, 1] == y[0, 0]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert_close(gradient[0, [0, 1, 3, 4]].tolist(), [0.0, 0.0, 0.0, 1.0])
    assert gradient[0, 2] < -1e8


def test_kl_estimates_in_expectation():
    """E k1 = E k3 = KL(π_θ ‖ π_ref) exactly; as losses, k1 pulls nowhere and k2 along the KL."""
    ref = tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    logits = tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(-1)
    p, ratio = logp.exp(), (logp - ref)[None]
    kl = (p * ratio[0]).sum()
    assert_close(kl.item(), 0.152653, atol=1e-6, rtol=0)
    want = torch.autograd.grad(kl, logits, retain_graph=True)[0]
    for k, mean, gradient in [(k1, 0.152653, 0 * want), (k2, 0.166428, want), (k3, 0.152653, None)]:
        estimate = (p.detach() * k(ratio)[0]).sum()
        assert_close(estimate.item(), mean, atol=1e-6, rtol=0)
        if gradient is not None:
            assert_close(torch.autograd.grad(estimate, logits, retain_graph=True)[0], gradient)


# -- over a whole batch


def test_an_exponential_stops_at_its_cap():
    x = tensor([-1e4, 0.0, 19.0, 21.0, 1e4], dtype=torch.float64, requires_grad=True)
    y = capped_exp(x)
    top = tensor(20.0, dtype=torch.float64).exp().item()
    assert_close(y.tolist(), [0.0, 1.0, x[2].exp().item(), top, top])
    assert y[0] == 0
    y.sum().backward()
    assert_close(x.grad.tolist(), [0.0, 1.0, x[2].exp().item(), 0.0, 0.0])


def test_a_running_mean_is_that_of_everything_together():
    parts = torch.randn(3), torch.randn(1) + 5, torch.zeros(0), torch.randn(7)
    mean = count = tensor(0.0)
    for i, part in enumerate(parts):
        mean, count = running_mean(mean, count, part)
        assert_close(mean, torch.cat(parts[: i + 1]).mean())
    assert count == 11
    nothing = tensor(0.0)
    assert_close(running_mean(nothing, nothing, torch.zeros(0)), (nothing, nothing))


def test_running_moments_are_those_of_everything_together():
    parts = torch.randn(3) + 1e4, torch.randn(1) + 5, torch.randn(7)
    state = (tensor(0.0),) * 3
    for i, part in enumerate(parts):
        state = running_moments(*state, part)
        everything = torch.cat(parts[: i + 1]).double()
        squares = everything.var(correction=0) * everything.numel()
        assert_close(state[0].double(), everything.mean(), rtol=1e-6, atol=1e-6)
        assert_close(state[1].double(), squares, rtol=1e-3 if i == 0 else 1e-6, atol=0)
    assert state[2] == 11


def test_rewards_fall_on_the_last_token_and_kl_on_each():
    # β = 0.2: 3 − 0.2 · 1 behind −0.2 · ½, and a gap
    mask = tensor([[YES, NO, YES]])
    got = priced_rewards(tensor([3.0]), tensor([[0.5, 0.0, 1.0]]), mask, kl_coef=0.2)
    assert_close(got[mask], tensor([-0.1, 2.8]))


def test_same_rank():
    got = same_rank(tensor([30.0, 10.0, 20.0]), tensor([-1.0, 5.0, 2.0]))
    assert_close(got, tensor([10.0, 30.0, 20.0]))


def test_drawing_without_replacement():
    """Each item first as often as it weighs; what weighs nothing comes last; none comes twice."""
    generator = torch.Generator().manual_seed(0)
    weights = tensor([1.0, 2.0, 5.0, 0.0])
    drawn = [without_replacement(weights.log(), 3, generator) for _ in range(600)]
    assert all(set(d.tolist()) == {0, 1, 2} for d in drawn)
    first = torch.stack(drawn)[:, 0].bincount(minlength=4) / 600
    assert_close(first, weights / 8, atol=0.05, rtol=0)
    far = without_replacement(tensor([-1e30, -3e30, -2e30]), 2, generator)
    assert far.tolist() == [0, 2]  # though all weights underflow
    same = [without_replacement(weights.log(), 3, generator.manual_seed(7)) for _ in "ab"]
    assert_close(*same)
