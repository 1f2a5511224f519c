"""DAPO: two bounds, a price of length, and prompts that teach nothing left out."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DAPO
from algos.dapo import overlong
from algos.ops import clipped_surrogate
from tests.arms import rollouts
from tests.samples import credited, value


@pytest.mark.parametrize(
    ("length", "penalty"),
    [
        (1, 0.0),
        (16000, 0.0),
        (16384, 0.0),
        (17408, -0.25),
        (18432, -0.5),
        (20480, -1.0),
        (21000, -1.0),
        (10**6, -1.0),
    ],
)
def test_price_of_length_table(length, penalty):
    assert_close(overlong(tensor([float(length)]), 20480.0, 4096.0), tensor([penalty]))


def test_without_a_cache_length_is_free():
    lengths = tensor([0.0, 39.0, 40.0, 41.0, 1e6])
    assert not overlong(lengths, 40.0, 0.0).any()


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "moves"),
    [
        (1.25, 1.0, 1.25, True),  # within the higher bound
        (1.3, 1.0, 1.28, False),
        (1.3, -1.0, -1.3, True),
        (0.75, -1.0, -0.8, False),  # past the lower
        (0.75, 1.0, 0.75, True),
    ],
)
def test_two_bounds_table(ratio, advantage, surrogate, moves):
    r, a = tensor([ratio], requires_grad=True), tensor([advantage])
    got = -clipped_surrogate(r, a, 0.2, 0.28)
    assert_close(got.detach(), tensor([surrogate]))
    assert_close(torch.autograd.grad(got.sum(), r)[0], a * moves)

    logps, zeros = r.detach().log()[:, None].requires_grad_(), torch.zeros(1, 1)
    data = credited(DAPO(), rollouts(logps, tensor([0.0]), old=zeros))
    credit = type(data.credit)(advantages=a, kept=torch.ones(1))
    loss = DAPO().loss(data.replace(credit=credit))
    assert_close(value(loss).detach(), tensor(-surrogate))
    assert_close(loss.metrics["clipfrac"], tensor([float(not moves)]))


def two_prompts(rewards: torch.Tensor, lengths: list[int]):
    mask = torch.arange(4) < tensor(lengths)[:, None]
    logps = torch.zeros(4, 4, requires_grad=True)
    return rollouts(logps, rewards, mask=mask, prompt=tensor([0, 0, 1, 1]))


def test_length_costs_reward():
    # 40 tokens in the small: limit 4, cache 2: lengths 2, 3, 4 cost 0, ½, 1; rewards ½ and 1
    data = two_prompts(tensor([0.5, 1.0, 0.0, 1.0]), [2, 3, 2, 4])
    free, priced = (
        credited(DAPO(max_length=4.0, cache=c), data).credit.advantages for c in (0.0, 2.0)
    )
    assert (free * tensor([-1.0, 1.0, -1.0, 1.0]) > 0).all()
    assert_close(priced, torch.zeros(4))


def test_prompts_whose_responses_are_equal_weigh_nothing():
    """Even where their lengths are not: by reward alone. All other tokens count the same."""
    data = two_prompts(tensor([0.1, 0.1, 0.0, 1.0]), [1, 4, 1, 3])
    algo = DAPO(max_length=4.0, cache=4.0)
    data = credited(algo, data)
    assert data.credit.advantages[0] != 0
    loss = algo.loss(data)
    assert_close(loss.weights["policy"], tensor(4.0))
    assert_close(loss.metrics["kept"], tensor([0.0, 0.0, 1.0, 1.0]))
    value(loss).backward()
    gradient = data.responses.token_logps.grad
    assert not gradient[:2].any()
    want = torch.where(data.responses.mask, -data.credit.advantages[:, None] / 4, 0.0)
    assert_close(gradient[2:], want[2:])


def test_where_no_prompt_is_left_nothing_is_learned():
    data = credited(DAPO(), two_prompts(torch.full((4,), 0.1), [1, 2, 3, 4]))
    loss = DAPO().loss(data)
    assert loss.weights["policy"] == 0
    value(loss).backward()
    assert not data.responses.token_logps.grad.any()
