"""PPO's price of leaving the reference, as it follows the KL."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import PPO, PPOAdaptive
from algos.core import Critic, Rollouts
from tests.arms import rollouts
from tests.samples import batch, value


def drifted(kl: float, rows: int = 256) -> Rollouts:
    """Two tokens each, of which the first drifted by a nat less than the second; a third is padding."""
    nan = float("nan")
    old = tensor([[(kl - 1) / 2, (kl + 1) / 2, nan]]).expand(rows, 3)
    zeros = torch.zeros(rows, 3)
    return rollouts(
        old,
        torch.ones(rows),
        old=old,
        ref=torch.where(old.isnan(), nan, 0.0),
        mask=tensor([[True, True, False]]).expand(rows, 3),
        critic=Critic(values=zeros, old_values=zeros),
    )


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        (12.0, 1.00512),  # twice the target: e = ½, kept at 0.2, times 256 / 10000
        (6.0, 1.0),
        (6.6, 1 + 0.1 * 0.0256),
        (0.0, 1 - 0.2 * 0.0256),
    ],
)
def test_the_price_follows_the_kl(kl, factor):
    algo = PPOAdaptive(kl_coef=0.1)
    credit, state = algo.credit(drifted(kl), algo.start(), torch.Generator())
    assert_close(state.kl_coef, tensor(0.1 * factor))
    assert_close(credit.kl_coef, tensor(0.1))


def test_a_batch_pays_the_price_that_the_ones_before_it_set():
    algo, data = PPOAdaptive(kl_coef=0.1, kl_horizon=256.0, lam=1.0), drifted(12.0)
    first, state = algo.credit(data, algo.start(), torch.Generator())
    second, _ = algo.credit(data, state, torch.Generator())
    # V = 0 and γ = 1: the return of the first token is 1 − β KL
    assert_close(first.returns[0, 0], tensor(1 - 0.1 * 12))
    assert_close(second.returns[0, 0], tensor(1 - 0.12 * 12))


def test_without_a_horizon_it_is_ppo():
    torch.manual_seed(0)
    ours, ppo = PPOAdaptive(kl_coef=0.05, kl_horizon=math.inf), PPO()
    state = ours.start()
    for _ in range(3):
        data = batch(ppo)
        credit, state = ours.credit(data, state, torch.Generator())
        theirs, _ = ppo.credit(data, None, torch.Generator())
        mine = value(ours.loss(data.replace(credit=credit)))
        assert_close(mine, value(ppo.loss(data.replace(credit=theirs))))
    assert state.kl_coef == tensor(0.05)


def test_what_is_paid_is_logged():
    algo, data = PPOAdaptive(kl_coef=0.1), drifted(12.0)
    credit, _ = algo.credit(data, algo.start(), torch.Generator())
    assert_close(algo.loss(data.replace(credit=credit)).metrics["kl_coef"], torch.full((256,), 0.1))
