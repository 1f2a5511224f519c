"""Dr. GRPO: a constant divides."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DrGRPO
from tests.arms import rollouts
from tests.samples import credited, value


def test_a_sum_over_a_constant_by_hand():
    # A = ±½; ρ = 1.1 on one token, 0.9 and 0.9 on two; L = 10, two responses
    mask = tensor([[True, False], [True, True]])
    logps = tensor([[1.1, 5.0], [0.9, 0.9]]).log()
    data = rollouts(logps, tensor([1.0, 0.0]), old=torch.zeros(2, 2), mask=mask)
    loss = DrGRPO(max_length=10.0).loss(credited(DrGRPO(), data))
    assert_close(value(loss), tensor(-(1.1 - 1.8) / 2 / 10 / 2))


def test_padding_does_not_divide():
    """The same responses beside a longer one of another batch: only how many they are counts."""
    data = credited(DrGRPO(), rollouts(torch.zeros(2, 2), tensor([1.0, 0.0])))
    wide = torch.zeros(2, 9)
    wider = rollouts(wide, data.rewards, mask=torch.arange(9).expand(2, 9) < 2)
    losses = [DrGRPO().loss(x) for x in (data, credited(DrGRPO(), wider))]
    assert_close(*(loss.parts["policy"].terms for loss in losses))
