"""IPO: where its margin stops. Its optimum: test_bandit.py."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import IPO, IPOMean
from algos.core import Pairs, Responses
from tests.arms import tokens
from tests.samples import value


def test_margin_stops_where_it_should():
    """At 1/(2τ), without β: convex, and lowest there."""
    h = torch.linspace(-10, 20, 31, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros_like(h).detach()
    loss = IPO(tau=0.1).loss(Pairs(chosen=tokens(h, zero), rejected=tokens(zero, zero)))
    terms = loss.parts["policy"].terms
    (slope,) = torch.autograd.grad(terms.sum(), h)
    assert_close(terms, (h - 5) ** 2)
    assert_close(slope, 2 * (h.detach() - 5))
    assert_close(loss.metrics["margin"], h.detach())


def test_rejected_counts_against_the_margin():
    one, zero = torch.ones(1), torch.zeros(1)
    pairs = Pairs(chosen=tokens(zero, zero), rejected=tokens(-one, zero))
    assert_close(value(IPO(tau=0.5).loss(pairs)), tensor(0.0))
    assert_close(value(IPOMean(tau=0.5).loss(pairs)), tensor(0.0))


def test_mean_divides_each_side_by_its_own_length():
    # log-ratio ½ on each of four tokens, −½ on each of two, τ = ½: the sums are 2 and −1, the
    # means ½ and −½, the goal 1
    def response(length: int, logratio: float) -> Responses:
        return Responses(
            token_logps=torch.full((1, 5), logratio - 1.0),
            token_ref_logps=torch.full((1, 5), -1.0),
            mask=torch.arange(5)[None] < length,
        )

    pairs = Pairs(chosen=response(4, 0.5), rejected=response(2, -0.5))
    for algo, margin in [(IPO(tau=0.5), 3.0), (IPOMean(tau=0.5), 1.0)]:
        loss = algo.loss(pairs)
        assert_close(value(loss), tensor((margin - 1) ** 2))
        assert_close(loss.metrics["margin"], tensor([margin]))
