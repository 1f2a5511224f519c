"""NCA: rewards are absolute. Their fixed point: test_bandit.py."""

import math

import pytest
import torch
from torch import tensor
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from algos import NCA
from algos.core import Rankings
from tests.arms import tokens
from tests.samples import value


def test_worked_by_hand():
    # p = ⅔ and ⅓; r̂ = 1 and −2
    h, reward = tensor([1.0, -2.0]), 0.5 * tensor([math.log(2.0), 0.0])
    data = Rankings(responses=tokens(2 * h, 0 * h, reward=reward), prompt=tensor([1, 1]))
    loss = NCA(beta=0.5, alpha=0.5).loss(data)
    good = 2 / 3 * logsigmoid(tensor(1.0)) + 1 / 3 * logsigmoid(tensor(-2.0))
    noise = (logsigmoid(tensor(-1.0)) + logsigmoid(tensor(2.0))) / 2
    assert_close(value(loss), -good - noise)
    assert_close(loss.metrics, {"reward": h})


@pytest.mark.parametrize("sizes", [(2,), (4,), (3, 2, 1)])
def test_at_the_reference_it_costs_two_log_twos_a_prompt(sizes):
    n = sum(sizes)
    prompt = torch.arange(len(sizes)).repeat_interleave(tensor(sizes))
    zero = torch.zeros(n)
    data = Rankings(responses=tokens(zero, zero, reward=torch.arange(n) / 1.0), prompt=prompt)
    assert_close(value(NCA().loss(data)), tensor(2 * math.log(2)))


def test_every_prompt_counts_once_however_many_answers_it_has():
    torch.manual_seed(0)
    h, reward, prompt = torch.randn(5), torch.randn(5), tensor([0, 0, 0, 1, 1])

    def cost(some: torch.Tensor) -> torch.Tensor:
        x = 10 * h[some]
        responses = tokens(x, 0 * x, reward=reward[some])
        return value(NCA(0.1, 1.0).loss(Rankings(responses=responses, prompt=prompt[some])))

    alone = [cost((prompt == k).nonzero().squeeze(1)) for k in (0, 1)]
    assert_close(cost(torch.arange(5)), (alone[0] + alone[1]) / 2)


def test_a_constant_per_prompt_matters():
    """Unlike with InfoNCA: likelihoods, not their differences, are fitted."""
    h, reward = tensor([1.0, -1.0]), tensor([1.0, 0.0])
    costs = [
        value(
            NCA(1.0).loss(
                Rankings(responses=tokens(x, 0 * x, reward=reward), prompt=torch.zeros(2).long())
            )
        )
        for x in (h, h + 5, h - 5)
    ]
    assert costs[0] < min(costs[1:])


def test_two_sure_answers_at_the_reference_pull_by_a_quarter_of_beta():
    h, zero = torch.zeros(2, requires_grad=True), torch.zeros(2)
    data = Rankings(
        responses=tokens(h, zero, reward=tensor([1.0, 0.0])), prompt=torch.zeros(2).long()
    )
    value(NCA(beta=0.2).loss(data)).backward()
    assert_close(h.grad, tensor([-0.05, 0.05]))
