"""BCO on pairs: the shift, and the bound it is for."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, BCOPair
from algos.bco_pair import Credit
from tests.arms import pair
from tests.samples import batch, value

BCO = BCOPair(beta=0.5)


def shifted(pairs, state):
    credit, state = BCO.credit(pairs, state, torch.Generator())
    return pairs.replace(credit=credit), state


def test_worked_by_hand():
    # r_w = 1, r_l = −½, so δ = ¼: both sides are ¾ away
    data, _ = shifted(pair(2.0, -1.0), BCO.start())
    assert_close(data.credit.shift, tensor(0.25))
    loss = BCO.loss(data)
    assert_close(value(loss), tensor(2 * math.log1p(math.exp(-0.75))))
    assert_close(loss.metrics, {"chosen": tensor([1.0]), "rejected": tensor([-0.5])})


def test_the_shift_averages_every_reward_so_far():
    one, two = pair(2.0, -1.0), pair(tensor([4.0, 6.0]), tensor([-2.0, 2.0]))
    first, state = shifted(one, BCO.start())
    second, state = shifted(two, state)
    assert_close(first.credit.shift, tensor(0.25))
    assert_close(second.credit.shift, tensor((0.5 + 5.0) / 6))
    assert_close(state.count, tensor(6.0))


def test_the_shift_counts_on_both_sides():
    for shift, want in [(0.0, 1.0), (3.0, 0.0)]:
        data = pair(6.0, 6.0).replace(credit=Credit(shift=tensor(shift)))
        h = data.chosen.token_logps
        bce = math.log1p(math.exp(shift - 3)) + math.log1p(math.exp(3 - shift))
        assert_close(value(BCO.loss(data)), tensor(bce))
        assert h.shape == (1, 1)
        assert (bce > 2 * math.log(2)) == bool(want)


def test_bounds_dpo_from_above_whatever_the_shift():
    """−log σ(a − b) ≤ −log σ(a − δ) − log σ(δ − b)."""
    pairs = batch(BCO)
    for shift in torch.linspace(-5, 5, 11):
        bound = BCO.loss(pairs.replace(credit=Credit(shift=shift))).parts["policy"].terms
        assert (bound >= DPO(beta=0.5).loss(pairs).parts["policy"].terms).all()


def test_only_the_slope_at_each_side_is_learned_from():
    h_w, h_l = (tensor([x], requires_grad=True) for x in (2.0, -1.0))
    data, _ = shifted(pair(h_w, h_l), BCO.start())
    value(BCO.loss(data)).backward()
    slope = -0.5 / (1 + math.exp(0.75))  # −β σ(−¾): δ is no way round
    assert_close(torch.cat([h_w.grad, h_l.grad]), tensor([slope, -slope]))
