"""REINFORCE: the returns of all that went before as a baseline."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import REINFORCE
from tests.arms import rollouts
from tests.samples import credited, value


def test_credit_by_hand():
    # k1 = ½ + 1 and ½: returns 1 − 0.2 · 1.5 = 0.7 and 3 − 0.2 · 0.5 = 2.9, mean 1.8;
    # then returns 6.6 and 1.6, of all four 2.95
    zeros, mask = torch.zeros(2, 2), tensor([[True, True], [True, False]])
    ref = tensor([[-0.5, -1.0], [-0.5, float("nan")]])
    algo, generator = REINFORCE(kl_coef=0.2), torch.Generator()
    first = rollouts(zeros, tensor([1.0, 3.0]), ref=ref, mask=mask)
    credit, state = algo.credit(first, algo.start(), generator)
    assert_close(credit.advantages, tensor([-1.1, 1.1]))
    second = rollouts(zeros, tensor([6.9, 1.7]), ref=ref, mask=mask)
    credit, state = algo.credit(second, state, generator)
    assert_close(credit.advantages, tensor([6.6, 1.6]) - 2.95)
    assert_close(state.count, tensor(4.0))


def test_a_response_is_one_action():
    """−A Σ_t log π_θ(y_t), a mean over responses, and no ratio to the policy that sampled."""
    logps, mask = tensor([[-1.0, -2.0], [-4.0, 9.0]]), tensor([[True, True], [True, False]])
    data = rollouts(logps.requires_grad_(), tensor([2.0, 0.0]), old=logps.detach() - 5, mask=mask)
    data = credited(REINFORCE(kl_coef=0.0), data)  # A = ±1
    loss = REINFORCE().loss(data)
    assert_close(value(loss).detach(), tensor((3.0 - 4.0) / 2))
    assert_close(loss.metrics["advantage"], tensor([1.0, -1.0]))
    value(loss).backward()
    assert_close(logps.grad, tensor([[-0.5, -0.5], [0.5, 0.0]]))
