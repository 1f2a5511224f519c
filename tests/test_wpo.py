"""WPO: what a pair weighs. Its optimum: test_bandit.py."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, WPO
from algos.core import Pairs
from tests.arms import tokens
from tests.samples import batch, value


def pairs(logp_w=-1.0, logp_l=-2.0, collision_w=-1.5, collision_l=-1.75) -> Pairs:
    sides = [
        tokens(tensor([x]), tensor([x - h]), token_collision=tensor([[c]]))
        for x, h, c in ((logp_w, 2.0, collision_w), (logp_l, -1.0, collision_l))
    ]
    return Pairs(chosen=sides[0], rejected=sides[1])


def test_worked_by_hand():
    # weights e^½ and e^−¼; h_w = 2, h_l = −1, β = ½
    loss = WPO(beta=0.5).loss(pairs())
    assert_close(value(loss), tensor(math.exp(0.25) * math.log1p(math.exp(-1.5))))
    want = {"chosen": [1.0], "rejected": [-0.5], "weight": [math.exp(0.25)]}
    assert_close(loss.metrics, {name: tensor(x) for name, x in want.items()})


def test_a_cap_is_on_the_product():
    dpo = math.log1p(math.exp(-1.5))
    assert_close(value(WPO(beta=0.5, max_weight=1.0).loss(pairs())), tensor(dpo))
    low = pairs(collision_w=0.0)  # e^−1 · e^−¼
    light = tensor(math.exp(-1.25) * dpo)
    assert_close(value(WPO(beta=0.5, max_weight=1.0).loss(low)), light)


def test_a_uniform_policy_weighs_nothing_more_or_less():
    """log π = −log V, Σ π² = 1 / V."""
    data = batch(WPO())
    flat = torch.full((6, 5), -math.log(50.0))

    def uniform(x):
        return x.replace(token_logps=flat.clone().requires_grad_(), token_collision=flat)

    data = data.replace(chosen=uniform(data.chosen), rejected=uniform(data.rejected))
    assert_close(value(WPO(beta=0.1).loss(data)), value(DPO().loss(data)))


def test_weights_are_means_over_tokens_and_teach_nothing():
    data = batch(WPO())
    sides = data.chosen, data.rejected
    leaves = [x.token_logps for x in sides]
    loss = WPO(beta=0.3).loss(data)
    logs = [
        torch.where(x.mask, x.token_logps - x.token_collision, 0.0).sum(-1) / x.mask.sum(-1)
        for x in sides
    ]
    weight = (logs[0] + logs[1]).exp().detach()
    assert_close(loss.metrics["weight"], weight)
    dpo = (weight * DPO(beta=0.3).loss(data).parts["policy"].terms).mean()
    assert_close(torch.autograd.grad(value(loss), leaves), torch.autograd.grad(dpo, leaves))


def test_a_spread_out_policy_has_no_gradient_either():
    data = pairs()
    spread = tensor([[-1.5]], requires_grad=True)
    data = data.replace(chosen=data.chosen.replace(token_collision=spread))
    assert not value(WPO().loss(data)).requires_grad
