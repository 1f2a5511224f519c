"""RPO: a sum of log-probabilities, priced by η β."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import RPO
from algos.core import Pairs
from tests.arms import spread


def test_worked_by_hand():
    # ℓ_w = h_w = −2 over 4 tokens, h_l = −5, β = ½, η = ¼: margin 3/2, and ⅛ · 2
    pairs = Pairs(chosen=spread(tensor([-2.0]), [4]), rejected=spread(tensor([-5.0]), [4]))
    loss = RPO(beta=0.5, eta=0.25).loss(pairs)
    assert_close(loss.share(loss.weights, {"policy"}), tensor(math.log1p(math.exp(-1.5))))
    assert_close(loss.share(loss.weights, {"nll"}), tensor(0.25))
    assert_close(loss.metrics, {"chosen": tensor([-1.0]), "rejected": tensor([-2.5])})


def test_a_longer_chosen_response_pulls_as_hard_on_every_token():
    h = torch.zeros(2, requires_grad=True)
    pairs = Pairs(chosen=spread(h, [2, 4]), rejected=spread(torch.zeros(2), [4, 4]))
    loss = RPO(beta=0.5, eta=0.25).loss(pairs)
    loss.share(loss.weights, {"nll"}).backward()
    assert_close(h.grad, tensor([-0.0625, -0.0625]))  # η β / 2 pairs
