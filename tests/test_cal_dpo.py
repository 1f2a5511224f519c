"""Cal-DPO: rewards of ±½, whatever the margin."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import CalDPO
from tests.arms import pair


def test_worked_by_hand():
    # β = ¼: goals 2 and −2; h_w = 3, h_l = 1: margin 2, missed by 1 and 3: c (1 + 9), c = ½
    loss = CalDPO(beta=0.25, calibration=0.5).loss(pair(3.0, 1.0))
    assert_close(loss.share(loss.weights, {"policy"}), tensor(math.log1p(math.exp(-2))))
    assert_close(loss.share(loss.weights, {"calibration"}), tensor(5.0))
    assert_close(loss.metrics, {"chosen": tensor([0.75]), "rejected": tensor([0.25])})


def test_calibration_draws_each_side_to_its_own_reward():
    h_w, h_l = (tensor([x], requires_grad=True) for x in (3.0, 1.0))
    loss = CalDPO(beta=0.25, calibration=0.5).loss(pair(h_w, h_l))
    loss.share(loss.weights, {"calibration"}).backward()
    assert_close(torch.cat([h_w.grad, h_l.grad]), tensor([1.0, 3.0]))


def test_the_margin_is_not_scaled_by_beta():
    terms = [CalDPO(beta=b).loss(pair(3.0, 1.0)).parts["policy"].terms for b in (0.1, 1.0)]
    assert_close(*terms)
