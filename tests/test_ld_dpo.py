"""LD-DPO: the tokens that one response has more than the other."""

import math

import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, LDDPO
from algos.core import Pairs, Responses
from tests.samples import value

YES, NO = True, False


def pairs(chosen, rejected, masks) -> Pairs:
    sides = [
        Responses(token_logps=h, token_ref_logps=torch.zeros_like(h), mask=tensor([m]))
        for h, m in zip((chosen, rejected), masks, strict=True)
    ]
    return Pairs(chosen=sides[0], rejected=sides[1])


def test_worked_by_hand():
    # chosen 1 + 2 + α (4 + 8), rejected −1 − 1; β = ½, α = ¼: ½ (6 + 2)
    masks = [YES] * 4, [YES, YES, NO, NO]
    h_w, h_l = tensor([[1.0, 2.0, 4.0, 8.0]]), -torch.ones(1, 4)
    loss = LDDPO(beta=0.5, alpha=0.25).loss(pairs(h_w, h_l, masks))
    assert_close(value(loss), tensor(math.log1p(math.exp(-4))))
    assert_close(loss.metrics, {"chosen": tensor([3.0]), "rejected": tensor([-1.0])})


def test_foreign_tokens_do_not_count_as_length():
    # two tokens of ours with a gap before the second: all of them shared
    masks = [YES, NO, NO, YES], [YES, YES, NO, NO]
    h_w, h_l = tensor([[1.0, 9.0, 9.0, 2.0]]), -torch.ones(1, 4)
    for alpha in (0.0, 1.0):
        got = value(LDDPO(beta=0.5, alpha=alpha).loss(pairs(h_w, h_l, masks)))
        assert_close(got, tensor(math.log1p(math.exp(-2.5))))


def test_the_tail_of_either_side_is_turned_down():
    masks = [YES, YES, NO, NO], [YES] * 4
    h_w, h_l = (torch.zeros(1, 4, requires_grad=True) for _ in "wl")
    value(LDDPO(beta=1.0, alpha=0.25).loss(pairs(h_w, h_l, masks))).backward()
    assert_close(h_w.grad, tensor([[-0.5, -0.5, 0.0, 0.0]]))
    assert_close(h_l.grad, tensor([[0.5, 0.5, 0.125, 0.125]]))


def test_at_the_reference_it_is_dpo_whatever_alpha():
    """Policy and reference lose the same tail."""
    masks = [YES, YES, NO, NO], [YES] * 4
    still = pairs(torch.zeros(1, 4), torch.zeros(1, 4), masks)
    still = still.replace(rejected=still.rejected.replace(token_ref_logps=torch.zeros(1, 4)))
    for alpha in (0.0, 0.5):
        assert_close(value(LDDPO(alpha=alpha).loss(still)), value(DPO().loss(still)))
