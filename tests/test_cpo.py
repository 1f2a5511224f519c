"""CPO and CPO-SimPO: what they are without their likelihood, and over what it is averaged."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import CPO, DPO, CPOSimPO, CPOSum, SimPO
from algos.core import Pairs, Responses
from tests.samples import batch, value


def response(*rows: tuple[float, ...]) -> Responses:
    width = max(map(len, rows))
    padded = [row + (math.nan,) * (width - len(row)) for row in rows]
    return Responses(token_logps=tensor(padded), mask=~tensor(padded).isnan())


# three chosen tokens, two in one response and one in the other: Σ = −6, a mean of −2 a token
PAIRS = Pairs(chosen=response((-1.0, -2.0), (-3.0,)), rejected=response((-3.0,), (-3.0,)))


@pytest.mark.parametrize(
    ("algo", "preference", "likelihood"),
    [
        (CPO(beta=0.0, alpha=0.5), math.log(2), 1.0),
        (CPOSum(beta=0.0, alpha=0.5), math.log(2), 1.5),  # ½ · 6 / 2
        (CPOSimPO(beta=0.0, gamma=0.0, alpha=0.5), math.log(2), 1.0),
        # ℓ: −3, −3 and −3, −3
        (CPO(beta=2.0, alpha=0.0), math.log(2), 0.0),
        # ℓ̄: −1.5, −3 and −3, −3: margins 3 and 0, less 1
        (CPOSimPO(beta=2.0, gamma=1.0, alpha=0.0),
         (math.log1p(math.exp(-2)) + math.log1p(math.e)) / 2, 0.0),
    ],
    ids=str,
)  # fmt: skip
def test_worked_by_hand(algo, preference, likelihood):
    loss = algo.loss(PAIRS)
    assert_close(loss.share(loss.weights, {"policy"}), tensor(preference))
    assert_close(loss.share(loss.weights, {"nll"}), tensor(likelihood))


@pytest.mark.parametrize("cls", [CPO, CPOSum])
def test_without_likelihood_it_is_dpo_with_a_uniform_reference(cls):
    pairs = batch(DPO())
    flat = {"token_ref_logps": torch.zeros_like(pairs.chosen.token_ref_logps)}
    uniform = Pairs(chosen=pairs.chosen.replace(**flat), rejected=pairs.rejected.replace(**flat))
    ours, theirs = cls(beta=0.3, alpha=0.0).loss(pairs), DPO(beta=0.3).loss(uniform)
    assert_close(value(ours), value(theirs))
    assert_close(ours.metrics, theirs.metrics)


def test_without_likelihood_cpo_simpo_is_simpo():
    pairs = batch(SimPO())
    ours, theirs = CPOSimPO(2.0, 0.7, alpha=0.0).loss(pairs), SimPO(2.0, 0.7).loss(pairs)
    assert_close(value(ours), value(theirs))
    assert_close(ours.metrics, theirs.metrics)
