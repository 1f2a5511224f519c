"""XPO: DPO, and a push away from what the reference said."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, XPO
from algos.core import Pairs, Responses
from tests.samples import value


def side(logp: list[float], ref: list[float], by_reference: list[bool]) -> Responses:
    """One-token responses."""
    return Responses(
        token_logps=tensor(logp, dtype=torch.float64)[:, None].requires_grad_(),
        token_ref_logps=tensor(ref, dtype=torch.float64)[:, None],
        mask=torch.ones(len(logp), 1, dtype=torch.bool),
        by_reference=tensor(by_reference),
    )


def data() -> Pairs:
    """The reference's answer won in the second pair."""
    return Pairs(
        chosen=side([-1.0, -2.0], [-2.0, -2.5], [False, True]),
        rejected=side([-3.0, -4.0], [-1.0, -1.5], [True, False]),
    )


def test_by_hand():
    # h = (1, ½) and (−2, −5/2): margins 3 and 3; the reference said −3 and −2
    pairs = data()
    plain = -torch.nn.functional.logsigmoid(tensor(0.3, dtype=torch.float64))
    assert_close(value(XPO(beta=0.1, alpha=0.2).loss(pairs)), plain + 0.2 * (-3 - 2) / 2)


def test_what_the_reference_said_becomes_less_likely():
    """Whether it won or lost, by α over the number of pairs; the other answer is left to DPO."""
    pairs, alpha = data(), 0.2
    leaves = [pairs.chosen.token_logps, pairs.rejected.token_logps]
    ours = torch.autograd.grad(value(XPO(alpha=alpha).loss(pairs)), leaves)
    dpo = torch.autograd.grad(value(DPO().loss(pairs)), leaves)
    gained = [a - b for a, b in zip(ours, dpo, strict=True)]
    assert_close(gained[0].squeeze(), tensor([0.0, alpha / 2], dtype=torch.float64))
    assert_close(gained[1].squeeze(), tensor([alpha / 2, 0.0], dtype=torch.float64))


def test_without_optimism_it_is_dpo():
    pairs = data()
    assert value(XPO(alpha=0.0).loss(pairs)) == value(DPO().loss(pairs))


@pytest.mark.parametrize("who", ["nobody", "both"])
def test_answers_count_as_often_as_the_reference_wrote_them(who):
    pairs = data()
    flags = tensor([who == "both"] * 2)
    pairs = Pairs(
        chosen=pairs.chosen.replace(by_reference=flags),
        rejected=pairs.rejected.replace(by_reference=flags),
    )
    gain = value(XPO(alpha=1.0).loss(pairs)) - value(DPO().loss(pairs))
    assert_close(gain, tensor(-5.0 if who == "both" else 0.0, dtype=torch.float64))
