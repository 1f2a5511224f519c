"""β-DPO: how β follows the batch, which pairs it keeps, and what it remembers."""

import pytest
import torch
from torch import tensor
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from algos import BetaDPO
from algos.beta_dpo import State
from tests.arms import pair
from tests.samples import batch, credited, value


def drawn(algo: BetaDPO, margins: list[float], seed: int = 0, state=None):
    """(credit, state) of a batch of pairs with these h_w − h_l."""
    h = tensor(margins, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return algo.credit(pair(h, 0 * h), state or algo.start(), generator)


def test_worked_by_hand():
    # β = ½, margins M = 1, 2, 3, 6: mean 3, std √(14/3); M₀ = ¾ · 0 + ¼ · 3, gap 3 − ¾
    algo = BetaDPO(beta=0.5, alpha=0.4, keep=1.0, momentum=0.75)
    credit, state = drawn(algo, [2.0, 4.0, 6.0, 12.0])
    assert_close(state.mean.item(), 0.75)
    assert_close(state.std.item(), 0.25 * (14 / 3) ** 0.5)
    assert_close(credit.beta.item(), 0.5 * (1 + 0.4 * 2.25))
    assert_close(credit.kept, torch.ones(4, dtype=torch.float64))

    # then one margin of ½: M₀ = ¾ · ¾ + ⅛, gap ½ − 11/16
    credit, state = drawn(algo, [1.0], state=state)
    assert_close(state.mean.item(), 0.6875)
    assert_close(state.std.item(), 0.1875 * (14 / 3) ** 0.5)
    assert_close(credit.beta.item(), 0.5 * (1 - 0.4 * 0.1875))


def test_the_loss_is_the_mean_over_the_pairs_kept():
    algo = BetaDPO(keep=0.5)
    pairs = credited(algo, batch(algo))
    kept = pairs.credit.kept.bool()
    assert kept.sum() == 3
    margin = pairs.chosen.logratios - pairs.rejected.logratios
    loss = algo.loss(pairs)
    assert_close(value(loss), -logsigmoid(pairs.credit.beta * margin)[kept].mean())
    assert_close(loss.metrics, {"margin": margin, "beta": pairs.credit.beta.expand(6)})


def test_beta_looks_at_the_pairs_kept():
    algo = BetaDPO(beta=0.5, alpha=0.4, keep=0.5, momentum=0.5)
    h = [2.0, 4.0, 6.0, 12.0]
    credit, state = drawn(algo, h)
    gap = (0.5 * tensor(h, dtype=torch.float64))[credit.kept.bool()].mean() - state.mean
    assert_close(credit.beta, 0.5 * (1 + 0.4 * gap))


def test_beta_has_a_floor():
    # the mean margin is far below M₀
    algo = BetaDPO(keep=1.0, momentum=0.9)
    assert_close(drawn(algo, [-300.0, -301.0])[0].beta.item(), 1e-3)


def test_odd_pairs_are_left_out_more_often():
    """Margins of 1½, 0 and −1 standard deviations from M₀, two kept: against all orders."""
    algo = BetaDPO(beta=1.0, keep=2 / 3 + 1e-9, momentum=1.0)
    start = type(algo.start())(mean=tensor(2.0), std=tensor(0.5))
    w = torch.exp(-0.5 * tensor([1.5, 0.0, -1.0]) ** 2)
    left_out = torch.zeros(3)
    for i in range(3):
        j, k = (n for n in range(3) if n != i)
        for a, b in ((j, k), (k, j)):
            left_out[i] += w[a] / w.sum() * w[b] / (w.sum() - w[a])
    counts = torch.zeros(3)
    for seed in range(800):
        counts += 1 - drawn(algo, [2.75, 2.0, 1.5], seed, start)[0].kept
    assert_close(counts / 800, left_out, atol=0.04, rtol=0)


@pytest.mark.parametrize(
    ("n", "keep", "kept"), [(1, 0.8, 1), (5, 0.8, 4), (6, 0.8, 4), (3, 0.1, 1)]
)
def test_how_many_are_kept(n, keep, kept):
    credit, _ = drawn(BetaDPO(keep=keep), [float(i) for i in range(n)])
    assert credit.kept.sum() == kept


def test_a_batch_without_spread_and_one_out_of_all_proportion():
    for margins in ([0.0] * 5, [7.0] * 5, [0.0, 0.0, 0.0, 0.0, 1e6]):
        credit, state = drawn(BetaDPO(), margins)
        assert credit.kept.sum() == 4
        assert credit.beta.isfinite()
        assert state.std.isfinite()


@pytest.mark.parametrize("margin", [0.0, 7.0])
def test_where_all_are_equal_all_are_left_out_as_often(margin):
    algo = BetaDPO(keep=0.5)
    kept = sum(drawn(algo, [margin] * 2, seed)[0].kept for seed in range(100)) / 100
    assert_close(kept, torch.full((2,), 0.5, dtype=torch.float64), atol=0.15, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_which_pairs_are_kept_does_not_depend_on_where_they_stand(seed):
    margins = torch.randn(12, generator=torch.Generator().manual_seed(seed)).tolist()
    turned = list(reversed(margins))
    calm = State(mean=tensor(0.0), std=tensor(10.0))  # to which no margin is odd
    one, two = (drawn(BetaDPO(keep=0.5), x, seed, calm)[0].kept for x in (margins, turned))
    assert torch.equal(one, two.flip(0))


def test_the_first_step_goes_the_right_way_for_the_pairs_kept():
    algo = BetaDPO()
    pairs = credited(algo, batch(algo, at_reference=True))
    value(algo.loss(pairs)).backward()
    kept = pairs.credit.kept.bool()
    for side, sign in ((pairs.chosen, -1), (pairs.rejected, 1)):
        assert (side.token_logps.grad.sign()[kept] == sign * side.mask.float()[kept]).all()
        assert not side.token_logps.grad[~kept].any()
