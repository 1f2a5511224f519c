"""SFT: every token counts the same, however long its response. Its optimum: test_bandit.py."""

import math

import torch
from torch.testing import assert_close

from algos import SFT, SFTSum
from algos.core import Demonstrations, Responses
from tests.samples import value

MASK = torch.tensor([[True, True, True], [True, False, False]])


def cost(logps: torch.Tensor, mask: torch.Tensor = MASK) -> torch.Tensor:
    return value(SFT().loss(Demonstrations(responses=Responses(token_logps=logps, mask=mask))))


def test_uniform_logits_cost_log_vocabulary():
    assert_close(cost(torch.full((2, 3), -math.log(50.0))), torch.tensor(math.log(50.0)))


def test_a_token_mean_is_not_a_mean_of_means():
    # three tokens of cost 1 and one of cost 5: 8 / 4, not (1 + 5) / 2
    assert_close(cost(torch.tensor([[-1.0, -1.0, -1.0], [-5.0, -9.0, -9.0]])), torch.tensor(2.0))


def test_gradient_is_softmax_minus_one_hot_over_tokens():
    torch.manual_seed(0)
    logits, ids = torch.randn(2, 3, 7, requires_grad=True), torch.randint(7, (2, 3))
    cost(logits.log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)).backward()
    want = (logits.softmax(-1) - torch.nn.functional.one_hot(ids, 7)) * MASK[..., None] / 4
    assert_close(logits.grad, want.detach())


def test_more_padding_changes_nothing():
    logps = -torch.rand(2, 3)
    wider = torch.cat([logps, torch.full((2, 2), -torch.inf)], 1)
    assert_close(cost(wider, torch.nn.functional.pad(MASK, (0, 2))), cost(logps))


def test_a_sum_over_responses():
    # (3 · 1 + 5) / 2
    logps = torch.tensor([[-1.0, -1.0, -1.0], [-5.0, -9.0, -9.0]])
    responses = Responses(token_logps=logps, mask=MASK)
    assert_close(value(SFTSum().loss(Demonstrations(responses=responses))), torch.tensor(4.0))
