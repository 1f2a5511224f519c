"""SLiC-HF: a hinge of slope one on whole log-probabilities, and somebody else to imitate."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import SLiC
from algos.core import Pairs, Responses
from tests.arms import tokens
from tests.samples import batch, value


def pair(chosen: torch.Tensor, rejected: torch.Tensor, target: torch.Tensor) -> Pairs:
    no = torch.full_like(chosen, torch.nan)  # there is no reference
    return Pairs(
        chosen=tokens(chosen, no), rejected=tokens(rejected, no), target=tokens(target, no)
    )


@pytest.mark.parametrize(
    ("margin", "cost", "slope"),
    [(2.0, 0.0, 0.0), (0.5, 0.5, -1.0), (0.0, 1.0, -1.0), (-3.0, 4.0, -1.0)],
)
def test_hinge_table(margin, cost, slope):
    w, l = (tensor([x], requires_grad=True) for x in (margin - 5.0, -5.0))
    loss = SLiC(delta=1.0, lam=0.5).loss(pair(w, l, tensor([-3.0])))
    assert_close(loss.share(loss.weights, {"policy"}), tensor(cost))
    assert_close(loss.share(loss.weights, {"nll"}), tensor(1.5))
    assert_close(loss.metrics["margin"], tensor([margin]))
    value(loss).backward()
    assert (w.grad.item(), l.grad.item()) == (slope, -slope)


def test_likelihoods_are_of_whole_responses():
    # ℓ_w = −2, ℓ_l = −2.5, and a target of −4 in two tokens: 1 − ½ + ½ · 4
    def two(each: float, length: int) -> Responses:
        return Responses(token_logps=tensor([[each, each]]), mask=torch.arange(2)[None] < length)

    pairs = Pairs(chosen=two(-1.0, 2), rejected=two(-2.5, 1), target=two(-2.0, 2))
    assert_close(value(SLiC(delta=1.0, lam=0.5).loss(pairs)), tensor(2.5))


def test_a_constant_on_both_sides_changes_nothing():
    pairs = batch(SLiC())
    shift = torch.randn(len(pairs.margin))
    first = torch.arange(pairs.chosen.mask.shape[1]) == 0  # a token that every response has

    def moved(side: Responses) -> Responses:
        return side.replace(token_logps=side.token_logps + shift[:, None] * first)

    after = pairs.replace(chosen=moved(pairs.chosen), rejected=moved(pairs.rejected))
    assert_close(value(SLiC().loss(after)), value(SLiC().loss(pairs)))


def test_only_the_target_is_imitated():
    pairs = batch(SLiC(), at_reference=True)
    value(SLiC(delta=-1e3).loss(pairs)).backward()
    assert not pairs.chosen.token_logps.grad.any()
    assert_close(pairs.target.token_logps.grad, -0.1 * pairs.target.mask / len(pairs.margin))
