"""RLOO: unbiased, by enumeration; a response is one action."""

from itertools import product

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

from algos import REINFORCE, RLOO
from tests.arms import ARMS, REF, REWARD, rollouts
from tests.samples import credited, value

LOGITS = tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)
BETA = 0.5


def gradients(algo, size: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """(probability of each group of so many arms, gradient of the loss of each)."""
    chances, found = [], []
    for arms in product(range(ARMS), repeat=size):
        rows, logits = tensor(arms), LOGITS.clone().requires_grad_()
        logp = logits.log_softmax(-1)[rows]
        data = rollouts(logp[:, None], REWARD[rows] + offset, ref=REF[rows, None])
        found += torch.autograd.grad(value(algo.loss(credited(algo, data))), logits)
        chances.append(logp.sum().exp().detach())
    return torch.stack(chances), torch.stack(found)


@pytest.mark.parametrize("size", [2, 3])
def test_the_gradient_is_unbiased(size):
    """That of −E[r − β (log π − log π_ref)], in expectation over all groups of samples."""
    chances, found = gradients(RLOO(kl_coef=BETA), size)
    assert_close(chances.sum().item(), 1.0)
    logits = LOGITS.clone().requires_grad_()
    logp = logits.log_softmax(-1)
    objective = (logp.exp() * (REWARD - BETA * (logp - REF))).sum()
    (exact,) = torch.autograd.grad(-objective, logits)
    assert_close(chances @ found, exact)


def test_the_others_as_baseline_spare_variance():
    """Where rewards have an offset, a plain policy gradient pays for it, and RLOO does not."""

    class Plain(RLOO):
        def credit(self, rollouts, state, generator):
            credit, state = super().credit(rollouts, state, generator)
            return type(credit)(rollouts.rewards), state

    def variance(algo) -> Tensor:
        chances, found = gradients(algo, 2, offset=3.0)
        return (chances[:, None] * (found - chances @ found) ** 2).sum()

    assert variance(RLOO(kl_coef=0.0)) < 0.2 * variance(Plain(kl_coef=0.0))


def test_of_two_responses_each_is_the_other_one_s_baseline():
    # k1 = ½ + 1 and ½ at β = 0.2: returns 0.7 and 2.9
    zeros, mask = torch.zeros(2, 2), tensor([[True, True], [True, False]])
    ref = tensor([[-0.5, -1.0], [-0.5, float("nan")]])
    data = rollouts(zeros, tensor([1.0, 3.0]), ref=ref, mask=mask)
    assert_close(credited(RLOO(kl_coef=0.2), data).credit.advantages, tensor([-2.2, 2.2]))


def test_without_clip_the_ratio_is_that_of_the_response():
    # A = ±2; ρ = 3 · ½ and 2: (−1.5 · 2 + 2 · 2) / 2; at most e²⁰, where it has no gradient
    mask = tensor([[True, True], [True, False]])
    logps = tensor([[3.0, 0.5], [2.0, 9.0]]).log().requires_grad_()
    data = rollouts(logps, tensor([2.0, 0.0]), old=torch.zeros(2, 2), mask=mask)
    algo = RLOO(clip=float("inf"), kl_coef=0.0)
    loss = algo.loss(credited(algo, data))
    assert_close(value(loss).detach(), tensor(0.5))
    assert_close(loss.metrics["ratio"], tensor([1.5, 2.0]))
    value(loss).backward()
    assert_close(logps.grad, tensor([[-1.5, -1.5], [2.0, 0.0]]))


def test_reinforce_of_a_first_batch_is_rloo_but_for_a_scale():
    """Its mean has the response itself in it: (n − 1) / n of the difference."""
    data = rollouts(torch.zeros(5, 1), torch.randn(5))
    one, other = (credited(cls(kl_coef=0.0), data).credit for cls in (REINFORCE, RLOO))
    assert_close(one.advantages, 0.8 * other.advantages)
