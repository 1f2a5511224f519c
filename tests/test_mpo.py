"""MPO: three losses in one."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, IRPO, MPO, BCOPair
from algos.core import Pairs
from tests.arms import spread
from tests.samples import batch, credited, value


def test_worked_by_hand():
    # β = ½: h_w = ℓ_w = −2 over 4 tokens, h_l = −5: rewards −1, −5/2, so δ = −7/4
    algo = MPO(beta=0.5, preference_coef=2.0, quality_coef=3.0, generation_coef=4.0)
    pairs = Pairs(chosen=spread(tensor([-2.0]), [4]), rejected=spread(tensor([-5.0]), [2]))
    pairs = credited(algo, pairs)
    assert_close(pairs.credit.shift, tensor(-1.75))
    loss = algo.loss(pairs)
    assert_close(loss.share(loss.weights, {"policy"}), tensor(2 * math.log1p(math.exp(-1.5))))
    assert_close(loss.share(loss.weights, {"quality"}), tensor(6 * math.log1p(math.exp(-0.75))))
    assert_close(loss.share(loss.weights, {"generation"}), tensor(4 * 0.5))
    assert_close(loss.metrics, {"chosen": tensor([-1.0]), "rejected": tensor([-2.5])})


@pytest.mark.parametrize(
    ("coefs", "relative"),
    [
        ({"preference_coef": 1.0, "quality_coef": 0.0, "generation_coef": 0.0}, DPO()),
        ({"preference_coef": 0.0, "quality_coef": 1.0, "generation_coef": 0.0}, BCOPair(beta=0.1)),
        ({"preference_coef": 1.0, "quality_coef": 0.0, "generation_coef": 1.0}, IRPO()),
    ],
)
def test_its_parts_are_losses_of_their_own(coefs, relative):
    pairs = batch(MPO())
    got, want = (value(a.loss(credited(a, pairs))) for a in (MPO(**coefs), relative))
    assert_close(got, want)
    leaves = pairs.chosen.token_logps, pairs.rejected.token_logps
    assert_close(*(torch.autograd.grad(x, leaves) for x in (got, want)))


def test_the_shift_remembers():
    algo = MPO(beta=0.5)
    first, state = algo.credit(batch(algo), algo.start(), torch.Generator())
    other = batch(algo)
    second, state = algo.credit(other, state, torch.Generator())
    rewards = 0.5 * torch.cat([other.chosen.logratios, other.rejected.logratios])
    assert_close(second.shift, (first.shift + rewards.mean()) / 2)
    assert_close(state.count, tensor(24.0))
