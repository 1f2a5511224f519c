"""ORPO: odds of mean probabilities, and where they stop."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import ORPO, ORPOTokenMean
from algos.core import Pairs, Responses
from algos.orpo import log_odds


def response(logps: torch.Tensor, length: int) -> Responses:
    """Of this mean log-probability a token."""
    return Responses(
        token_logps=logps[:, None].expand(-1, length), mask=torch.ones(len(logps), length).bool()
    )


@pytest.mark.parametrize("algo", [ORPO(lam=2.0), ORPOTokenMean(lam=2.0)], ids=str)
def test_worked_by_hand(algo):
    # p = ½ and 1/5: odds 1 and ¼, log ratio log 4; −log σ(log 4) = log(5/4)
    chosen, rejected = response(tensor([0.5]).log(), 3), response(tensor([0.2]).log(), 2)
    loss = algo.loss(Pairs(chosen=chosen, rejected=rejected))
    assert_close(loss.share(loss.weights, {"policy"}), tensor(2 * math.log(1.25)))
    assert_close(loss.share(loss.weights, {"nll"}), tensor(math.log(2)))
    logged = {"chosen": tensor([0.0]), "rejected": -tensor([4.0]).log()}
    assert_close(loss.metrics, logged, atol=1e-6, rtol=0)


def test_a_third_party_example():
    # ℓ̄ = −½ and −1: log odds ratio 0.974, −log σ of it 0.320
    chosen, rejected = log_odds(tensor([-0.5])), log_odds(tensor([-1.0]))
    assert (chosen - rejected).item() == pytest.approx(0.974, abs=5e-4)
    pairs = Pairs(chosen=response(tensor([-0.5]), 2), rejected=response(tensor([-1.0]), 3))
    loss = ORPO(lam=1.0).loss(pairs)
    assert loss.share(loss.weights, {"policy"}).item() == pytest.approx(0.320, abs=5e-4)


def test_two_means():
    # tokens −1, −1, −1 and −3: means of responses −1 and −3, of tokens −6/4
    logps = tensor([[-1.0, -1.0, -1.0], [-3.0, 9.0, 9.0]])
    chosen = Responses(token_logps=logps, mask=logps < 0)
    for algo, nll in [(ORPO(), 2.0), (ORPOTokenMean(), 1.5)]:
        loss = algo.loss(Pairs(chosen=chosen, rejected=chosen))
        assert_close(loss.share(loss.weights, {"nll"}), tensor(nll))


def test_odds_keep_their_digits_and_stop():
    logps = tensor([-30.0, -1e-3, -1e-5, -1e-7, 0.0, -1e4], requires_grad=True)
    got = log_odds(logps)
    (slope,) = torch.autograd.grad(got.sum(), logps)
    exact = logps.detach().double()
    exact = exact - torch.log(-torch.expm1(exact))
    assert_close(got[:3].double(), exact[:3], rtol=1e-6, atol=0)
    assert_close(got[3:5], torch.full((2,), math.log(1e6)), rtol=1e-4, atol=0)
    assert got[5] == -1e4
    assert_close(slope[:3], 1 / -torch.expm1(logps.detach()[:3]), rtol=1e-4, atol=0)
    assert slope[3:].tolist() == [0.0, 0.0, 1.0]
