"""AOT: who is compared with whom, and where the gradient of a partner goes."""

import pytest
import torch
from torch import tensor
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from algos import AOT, AOTUnpaired
from algos.core import Pairs
from tests.arms import pair, tokens
from tests.samples import batch, credited, value


def test_paired_by_hand():
    # margins 3, −1, 0 of the policy, 8, 9, 1 of the reference: −1 meets 1, 0 meets 8, 3 meets 9
    pairs = Pairs(
        chosen=tokens(tensor([4.0, -1.0, 0.0]), tensor([8.0, 9.0, 3.0])),
        rejected=tokens(tensor([1.0, 0.0, 0.0]), tensor([0.0, 0.0, 2.0])),
    )
    pairs = credited(AOT(), pairs)
    assert_close(pairs.credit.partner, tensor([9.0, 1.0, 8.0]))
    loss = AOT(beta=0.5).loss(pairs)
    assert_close(loss.metrics, {"gain": tensor([-3.0, -1.0, -4.0])})
    assert_close(loss.parts["policy"].terms, -logsigmoid(tensor([-3.0, -1.0, -4.0])))


def test_unpaired_by_hand():
    # chosen 3, −1, 0 and rejected 1, 2, −4: −1 meets −4, 0 meets 1, 3 meets 2
    pairs = pair(tensor([3.0, -1.0, 0.0]), tensor([1.0, 2.0, -4.0]))
    pairs = credited(AOTUnpaired(), pairs)
    assert_close(pairs.credit.rejected, tensor([2.0, -4.0, 1.0]))
    assert_close(pairs.credit.chosen, tensor([0.0, 3.0, -1.0]))
    loss = AOTUnpaired(beta=0.5).loss(pairs)
    assert_close(value(loss), -logsigmoid(tensor([0.5, 1.5, -0.5])).mean())
    both = {"chosen": tensor([1.5, -0.5, 0.0]), "rejected": tensor([0.5, 1.0, -2.0])}
    assert_close(loss.metrics, both)


def test_partners_are_moved_as_if_sorting_were_part_of_the_loss():
    """Also those of another micro-batch: as by differentiating through the sorted rows."""
    algo, pairs = AOTUnpaired(beta=0.3), batch(AOTUnpaired())
    leaves = pairs.chosen.token_logps, pairs.rejected.token_logps
    sides = pairs.chosen.logratios.sort().values, pairs.rejected.logratios.sort().values
    want = torch.autograd.grad(-logsigmoid(0.3 * (sides[0] - sides[1])).mean(), leaves)
    assert_close(torch.autograd.grad(value(algo.loss(credited(algo, pairs))), leaves), want)


@pytest.mark.parametrize("turn", [[2, 0, 1, 5, 3, 4], [5, 4, 3, 2, 1, 0]])
def test_unpaired_it_does_not_matter_whose_rejected_it_is(turn):
    algo, h_w, h_l = AOTUnpaired(), torch.randn(6), torch.randn(6)
    pairs = pair(h_w, h_l), pair(h_w, h_l[turn])
    assert_close(*(value(algo.loss(credited(algo, p))) for p in pairs))


def test_only_margins_are_sorted_where_they_are_paired():
    """Whatever both responses to a prompt have in common is nothing."""
    algo, pairs = AOT(), batch(AOT())
    common = torch.randn(6)[:, None] / pairs.chosen.lengths[:, None]
    chosen = pairs.chosen.replace(token_logps=pairs.chosen.token_logps + common)
    common = common * pairs.chosen.lengths[:, None] / pairs.rejected.lengths[:, None]
    rejected = pairs.rejected.replace(token_logps=pairs.rejected.token_logps + common)
    moved = pairs.replace(chosen=chosen, rejected=rejected)
    assert_close(*(value(algo.loss(credited(algo, p))) for p in (pairs, moved)))


def test_nothing_is_lost_where_the_policy_dominates_by_far():
    h = torch.randn(6) + 1e4
    for algo in (AOT(), AOTUnpaired()):
        assert_close(value(algo.loss(credited(algo, pair(h, 0 * h)))), tensor(0.0))
