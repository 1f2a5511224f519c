"""InfoNCA: DPO for two answers and sure labels. Its optimum: test_bandit.py."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, PLDPO, InfoNCA
from algos.core import Rankings
from algos.ops import group_log_softmax
from tests.arms import tokens
from tests.samples import batch, value
from tests.test_pl_dpo import ranked


def test_worked_by_hand():
    # r̂ = log 3 and 0: softmax ¾ and ¼; r = α log 2 and 0: p = ⅔ and ⅓
    h = tensor([math.log(3.0), 0.0])
    reward = 0.5 * tensor([math.log(2.0), 0.0])
    data = Rankings(responses=tokens(2 * h, 0 * h, reward=reward), prompt=tensor([1, 1]))
    loss = InfoNCA(beta=0.5, alpha=0.5).loss(data)
    assert_close(value(loss), tensor(-2 / 3 * math.log(0.75) - 1 / 3 * math.log(0.25)))
    assert_close(loss.metrics, {"reward": h})


@pytest.mark.parametrize("beta", [0.01, 0.3])
def test_two_answers_and_sure_labels_are_dpo(beta):
    pairs = batch(DPO())
    ours, theirs = InfoNCA(beta=beta).loss(ranked(pairs)), DPO(beta=beta).loss(pairs)
    assert_close(value(ours), value(theirs))


def test_a_prompt_counts_once_however_many_its_answers():
    # at the reference: log K for each prompt
    zero, reward = torch.zeros(5), tensor([3.0, 1.0, 2.0, 0.0, 1.0])
    data = Rankings(responses=tokens(zero, zero, reward=reward), prompt=tensor([4, 4, 4, 9, 9]))
    assert_close(value(InfoNCA().loss(data)), tensor(math.log(3) + math.log(2)) / 2)


def test_softmax_within_groups_keeps_its_digits():
    x, group = tensor([1.0, 1000.0, 1.0001, -1e4]), tensor([3, 8, 3, 3])
    got = group_log_softmax(x, group, 1e-4)
    apart = (x[2] - x[0]).double() / 1e-4
    want = torch.nn.functional.logsigmoid(torch.stack([-apart, apart]))
    assert_close(got[[0, 2]].double(), want, atol=1e-6, rtol=1e-6)
    assert got[1] == 0
    assert_close(got.exp()[3], tensor(0.0))
    small = tensor([0.1, 0.7, -0.3])
    assert_close(group_log_softmax(small, tensor([0, 0, 0])), small.log_softmax(0))


def test_equal_answers_share():
    zero, reward = torch.zeros(3), tensor([1.0, 1.0, 0.0])
    h = zero.clone().requires_grad_()
    data = Rankings(responses=tokens(h, zero, reward=reward), prompt=zero.long())
    value(InfoNCA(beta=1.0).loss(data)).backward()
    assert_close(h.grad, tensor([1 / 3 - 0.5, 1 / 3 - 0.5, 1 / 3]))


def test_a_constant_per_prompt_cancels():
    """log Z(x) is the same for all answers."""
    data = batch(InfoNCA())
    shift = 3.0 * data.prompt[:, None] * (torch.arange(data.responses.mask.shape[1]) == 0)
    moved = data.responses.replace(token_logps=data.responses.token_logps + shift)
    for algo in (InfoNCA(beta=0.5), PLDPO(beta=0.5)):
        assert_close(value(algo.loss(data.replace(responses=moved))), value(algo.loss(data)))
