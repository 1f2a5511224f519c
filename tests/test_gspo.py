"""GSPO: the ratio of a response, per token. Beside GRPO and RLOO: test_rollouts.py."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import GSPO
from tests.arms import rollouts
from tests.samples import credited, value


def test_ratio_and_gradient_by_hand():
    # s = √(4 · ¼) = 1, and 1.0002 of one token; A = ±1/√2. ∇ = −A s / (B |y|) a token
    mask = tensor([[True, True], [True, False]])
    logps = tensor([[4.0, 0.25], [1.0002, 7.0]]).log().requires_grad_()
    data = rollouts(logps, tensor([1.0, 0.0]), old=torch.zeros(2, 2), mask=mask)
    data = credited(GSPO(), data)
    loss = GSPO().loss(data)
    assert_close(loss.metrics["ratio"], tensor([1.0, 1.0002]))
    a = data.credit.advantages
    assert_close(value(loss).detach(), -(a * tensor([1.0, 1.0002])).mean())
    value(loss).backward()
    want = [[-a[0] / 4, -a[0] / 4], [-a[1] * 1.0002 / 2, 0.0]]
    assert_close(logps.grad, tensor(want))


def test_bounds_are_those_of_the_paper():
    """3e-4 below, 4e-4 above, of a ratio per token."""
    algo = GSPO()
    for ratio, advantage, stopped in (
        (1.00045, 1.0, True), (1.00035, 1.0, False), (1.00045, -1.0, False),
        (0.99965, -1.0, True), (0.99975, -1.0, False), (0.99965, 1.0, False),
    ):  # fmt: skip
        logps = tensor([[ratio]], dtype=torch.float64).log().expand(1, 3).clone().requires_grad_()
        data = rollouts(logps, torch.zeros(1).double(), old=torch.zeros(1, 3).double())
        credit = type(credited(algo, data).credit)(tensor([advantage]).double())
        loss = algo.loss(data.replace(credit=credit))
        assert loss.metrics["clipfrac"] == stopped
        value(loss).backward()
        assert logps.grad.any() != stopped
