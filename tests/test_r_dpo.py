"""R-DPO: the sign of length. Its optimum: test_bandit.py."""

import math

from torch import tensor
from torch.testing import assert_close

from algos import RDPO
from algos.core import Pairs
from tests.arms import spread
from tests.samples import value


def test_worked_by_hand():
    # h_w = 2 over 4 tokens, h_l = −1 over 2; β = ½, α = ¼: 3/2 + ½
    pairs = Pairs(chosen=spread(tensor([2.0]), [4]), rejected=spread(tensor([-1.0]), [2]))
    loss = RDPO(beta=0.5, alpha=0.25).loss(pairs)
    assert_close(value(loss), tensor(math.log1p(math.exp(-2))))
    assert_close(loss.metrics, {"chosen": tensor([1.0]), "rejected": tensor([-0.5])})


def test_a_longer_winner_teaches_less_than_a_shorter_one():
    def pull(chosen: int, rejected: int) -> float:
        h = tensor([0.0], requires_grad=True)
        pairs = Pairs(chosen=spread(h, [chosen]), rejected=spread(tensor([0.0]), [rejected]))
        value(RDPO(alpha=0.1).loss(pairs)).backward()
        return -h.grad.item()

    assert 0 < pull(8, 2) < pull(5, 5) < pull(2, 8)
    assert_close(pull(5, 5), 0.05)
