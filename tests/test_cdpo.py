"""cDPO: where it stops, and what it says of noise."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import CDPO, DPO
from algos.core import Pairs
from tests.arms import ODDS, minimiser, pair
from tests.samples import batch, value


def test_worked_by_hand():
    # h_w = 2, h_l = −1, β = ½, ε = ¼: ¾ log(1 + e^−1.5) + ¼ log(1 + e^1.5) = log(1 + e^−1.5) + ⅜
    loss = CDPO(beta=0.5, epsilon=0.25).loss(pair(2.0, -1.0))
    assert_close(value(loss), tensor(math.log1p(math.exp(-1.5)) + 0.375))
    assert_close(loss.metrics, {"chosen": tensor([1.0]), "rejected": tensor([-0.5])})


def test_stops_at_the_margin_of_labels_as_wrong_as_that():
    """h_w − h_l = logit(1 − ε) / β."""
    margin = tensor([math.log(9) / 0.3], requires_grad=True)
    value(CDPO(beta=0.3, epsilon=0.1).loss(pair(margin, 0.0))).backward()
    assert_close(margin.grad, torch.zeros(1))


def test_half_of_the_labels_wrong_is_a_loss_that_knows_no_sides():
    pairs = batch(CDPO())
    turned = Pairs(chosen=pairs.rejected, rejected=pairs.chosen)
    for p in (pairs, turned):
        assert_close(value(CDPO(epsilon=0.5).loss(p)), value(CDPO(epsilon=0.5).loss(turned)))
    unequal = CDPO(epsilon=0.4)
    assert value(unequal.loss(pairs)) != value(unequal.loss(turned))


def test_smoothing_labels_is_expecting_them_turned():
    """The optimum is that of DPO on labels of which a tenth are turned round."""
    smooth = minimiser(CDPO(beta=0.5, epsilon=0.1))
    assert_close(smooth, minimiser(DPO(beta=0.5), odds=0.8 * ODDS + 0.1), atol=1e-9, rtol=0)
