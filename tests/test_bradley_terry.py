"""The reward model: what moves it, what must not, and what people said about how sure they were.

Planted utilities and calibration: test_bandit.py. Numbers: test_golden.py.
"""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import BradleyTerry, BradleyTerryLM
from algos.core import FromPairs, Pairs, Responses
from tests.samples import batch, value


def scores(pairs: Pairs, chosen: torch.Tensor, rejected: torch.Tensor) -> Pairs:
    return pairs.replace(
        chosen=pairs.chosen.replace(score=chosen), rejected=pairs.rejected.replace(score=rejected)
    )


def swapped(pairs: Pairs) -> Pairs:
    """The same judgement, told from the other side."""
    return pairs.replace(
        chosen=pairs.rejected,
        rejected=pairs.chosen,
        p_chosen=1 - pairs.p_chosen,
        margin=-pairs.margin,
    )


@pytest.fixture
def pairs() -> Pairs:
    torch.manual_seed(0)
    return batch(BradleyTerry())


def test_worked_by_hand(pairs):
    # r = 2 and ½, m = ½: Δ = 1; p = 0.9 and ε = 0.25: q = 0.7; c = 0.1: 0.1 · 2.5²
    one = pairs[:1].replace(p_chosen=tensor([0.9]), margin=tensor([0.5]))
    one = scores(one, tensor([2.0]), tensor([0.5]))
    loss = BradleyTerry(label_smoothing=0.25, centring=0.1).loss(one)
    ranked = 0.7 * math.log1p(math.exp(-1)) + 0.3 * math.log1p(math.e)
    assert_close(value(loss), tensor(ranked + 0.625))
    assert_close(loss.metrics, {"chosen": tensor([2.0]), "rejected": tensor([0.5])})
    assert set(loss.parts) == {"policy", "centring"}


def test_a_constant_per_prompt_does_not_matter(pairs):
    shift = 3 * torch.randn(len(pairs.margin))
    moved = scores(pairs, pairs.chosen.score + shift, pairs.rejected.score + shift)
    assert_close(value(BradleyTerry().loss(moved)), value(BradleyTerry().loss(pairs)))
    centred = BradleyTerry(centring=0.1)
    assert not torch.isclose(value(centred.loss(moved)), value(centred.loss(pairs)))


@pytest.mark.parametrize("algo", [BradleyTerry(), BradleyTerry(0.2, 0.1)], ids=str)
def test_it_does_not_matter_from_which_side_it_is_told(algo, pairs):
    assert_close(value(algo.loss(swapped(pairs))), value(algo.loss(pairs)))


def test_even_odds_want_equal_rewards(pairs):
    even = pairs.replace(p_chosen=torch.full_like(pairs.p_chosen, 0.5), margin=0 * pairs.margin)
    score = pairs.chosen.score.detach().requires_grad_()
    value(BradleyTerry().loss(scores(even, score, score.detach()))).backward()
    assert_close(score.grad, torch.zeros_like(score))


def test_half_of_smoothing_forgets_the_labels(pairs):
    plain = pairs.replace(margin=0 * pairs.margin)
    forgets = BradleyTerry(label_smoothing=0.5)
    assert_close(
        value(forgets.loss(plain.replace(p_chosen=1 - plain.p_chosen))), value(forgets.loss(plain))
    )


def test_a_margin_asks_for_more(pairs):
    """Where people were surer, the same rewards cost more."""
    hard = pairs.replace(p_chosen=torch.ones_like(pairs.p_chosen))
    costs = [
        value(BradleyTerry().loss(hard.replace(margin=torch.full_like(pairs.margin, m))))
        for m in (0.0, 0.5, 1.0)
    ]
    assert costs[0] < costs[1] < costs[2]


def test_gradient_never_exceeds_one_a_pair(pairs):
    one = pairs.chosen.score.new_ones(len(pairs.margin))
    for apart in (-1e3, 0.0, 1e3):
        score = (apart * one).requires_grad_()
        BradleyTerry().loss(scores(pairs, score, 0 * one)).parts["policy"].terms.sum().backward()
        assert (score.grad.abs() <= 1).all()


def test_learns_through_its_scores_alone(pairs):
    assert isinstance(BradleyTerry(), FromPairs)
    assert "token_ref_logps" not in BradleyTerry().needs
    value(BradleyTerry().loss(pairs)).backward()
    assert pairs.chosen.score.grad.all()
    assert pairs.rejected.score.grad.all()
    assert pairs.chosen.token_logps.grad is None


def test_as_a_language_model_beside_it(pairs):
    # Δ = 1.5 and −1; the chosen ones' tokens cost 1, 2 and 6: a mean of 3
    logps = tensor([[-1.0, -2.0], [-6.0, math.nan]])
    target = Responses(token_logps=logps, mask=~logps.isnan())
    two = scores(pairs[:2].replace(target=target), tensor([2.0, 0.0]), tensor([0.5, 1.0]))
    loss = BradleyTerryLM(lm_coef=0.5).loss(two)
    ranked = (math.log1p(math.exp(-1.5)) + math.log1p(math.e)) / 2
    assert_close(loss.share(loss.weights, {"policy"}), tensor(ranked))
    assert_close(loss.share(loss.weights, {"nll"}), tensor(1.5))
    assert_close(loss.metrics, {"chosen": tensor([2.0, 0.0]), "rejected": tensor([0.5, 1.0])})


def test_without_the_language_model_it_is_bradley_and_terry_on_hard_labels(pairs):
    hard = pairs.replace(p_chosen=torch.ones_like(pairs.p_chosen), margin=0 * pairs.margin)
    assert_close(value(BradleyTerryLM(lm_coef=0.0).loss(hard)), value(BradleyTerry().loss(hard)))
