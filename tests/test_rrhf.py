"""RRHF: what a wrong order costs, and who is imitated."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import RRHF, RRHFAuthorsCode
from algos.core import Rankings, Responses
from tests.samples import value

BOTH = pytest.mark.parametrize("cls", [RRHF, RRHFAuthorsCode])


def rankings(logps: list[float], reward: list[float], prompt: list[int]) -> Rankings:
    """Responses of two tokens of these log-probabilities each."""
    return Rankings(
        responses=Responses(
            token_logps=tensor(logps)[:, None].repeat(1, 2).requires_grad_(),
            mask=torch.ones(len(logps), 2).bool(),
            reward=tensor(reward),
        ),
        prompt=tensor(prompt),
    )


# ℓ̄ = −1, −2, −4 and −1, −3; the best are the second and the fourth
DATA = rankings([-1.0, -2.0, -4.0, -1.0, -3.0], [1.0, 3.0, 2.0, 5.0, 4.0], [1, 1, 1, 0, 0])


@BOTH
def test_worked_by_hand(cls):
    # wrong: first above second by 1, first above third by 3; none in the other prompt
    loss = cls(rank_coef=0.5).loss(DATA)
    assert_close(loss.share(loss.weights, {"policy"}), tensor(0.5 * (1.0 + 3.0) / 2))
    nll = {RRHF: (4.0 + 2.0) / 2, RRHFAuthorsCode: (2.0 + 1.0) / 2}[cls]
    assert_close(loss.share(loss.weights, {"nll"}), tensor(nll))
    assert_close(loss.metrics, {"misranked": tensor([4.0, 0.0, 0.0, 0.0, 0.0])})


@BOTH
def test_a_wrong_order_pulls_both_down_and_up(cls):
    data = rankings([-1.0, -2.0, -4.0], [1.0, 3.0, 2.0], [1, 1, 1])
    loss = cls().loss(data)
    loss.share(loss.weights, {"policy"}).backward()
    assert_close(data.responses.token_logps.grad.sum(-1), tensor([2.0, -1.0, -1.0]))


@BOTH
def test_a_right_order_costs_nothing_and_the_best_is_imitated(cls):
    data = rankings([-2.0, -1.0, -4.0], [1.0, 3.0, 0.0], [1, 1, 1])
    loss = cls().loss(data)
    value(loss).backward()
    assert loss.share(loss.weights, {"policy"}) == 0
    assert (data.responses.token_logps.grad < 0).any(-1).tolist() == [False, True, False]


@BOTH
def test_the_best_share(cls):
    data = rankings([-1.0, -3.0, -7.0, -5.0], [3.0, 3.0, 2.0, 0.0], [0, 0, 0, 1])
    loss = cls().loss(data)
    assert_close(loss.parts["nll"].weights, tensor([0.5, 0.5, 0.0, 1.0]))
    assert_close(loss.weights["policy"], tensor(2.0))


@BOTH
def test_length_does_not_count_in_the_order(cls):
    logps = tensor([[-1.0, -1.0, -1.0], [-2.0, 0.0, 0.0]])
    responses = Responses(
        token_logps=logps, mask=logps < 0, reward=tensor([0.0, 1.0])
    )  # sums −3 and −2 are in order, means −1 and −2 are not
    loss = cls().loss(Rankings(responses=responses, prompt=tensor([0, 0])))
    assert_close(loss.metrics["misranked"], tensor([1.0, 0.0]))
