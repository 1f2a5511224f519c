"""KTO: the point from which gains are counted, and that nothing pulls at far ends."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import KTO
from algos.core import Labels
from algos.kto import Credit
from tests.arms import tokens
from tests.samples import batch, credited, value


def labels(h: torch.Tensor, good: bool, other: torch.Tensor) -> Labels:
    return Labels(
        responses=tokens(h, torch.zeros_like(h)),
        desirable=torch.full(h.shape, good),
        mismatched=tokens(other, torch.zeros_like(other)),
    )


def test_worked_by_hand():
    # mismatched log-ratios 3 and −1: z0 = 1; h = 3, β = ½: gain 1
    for good, weight, cost in [(True, 2.0, -1.0), (False, 4.0, 1.0)]:
        data = credited(KTO(), labels(tensor([3.0, 3.0]), good, tensor([3.0, -1.0])))
        loss = KTO(beta=0.5, desirable_weight=2.0, undesirable_weight=4.0).loss(data)
        assert_close(value(loss), weight * torch.sigmoid(tensor(cost)))
        assert_close(loss.metrics, {"gain": tensor([1.0, 1.0])})


@pytest.mark.parametrize(("other", "z0"), [([3.0, -1.0], 1.0), ([-3.0, 1.0], 0.0)])
def test_the_point_of_reference_is_never_negative_and_has_no_gradient(other, z0):
    other = tensor(other, requires_grad=True)
    data = credited(KTO(), labels(tensor([1.0, 2.0]), True, other))
    assert data.credit.z0.item() == z0
    assert not data.credit.z0.requires_grad


def test_it_is_that_of_the_mismatched_not_of_the_matched():
    data = batch(KTO())
    z0 = credited(KTO(), data).credit.z0
    assert_close(z0, data.mismatched.logratios.mean())
    assert not torch.isclose(z0, data.responses.logratios.mean())


def test_raised_together_they_change_nothing():
    data = credited(KTO(), batch(KTO()))
    by = tensor(2.0)
    first = torch.arange(data.responses.mask.shape[1]) == 0
    higher = data.replace(
        responses=data.responses.replace(token_logps=data.responses.token_logps + by * first),
        credit=Credit(data.credit.z0 + by),
    )
    assert_close(value(KTO().loss(higher)), value(KTO().loss(data)))


@pytest.mark.parametrize("good", [True, False])
def test_nothing_pulls_at_far_ends_and_never_more_than_a_quarter(good):
    h = torch.linspace(-300, 300, 61, dtype=torch.float64, requires_grad=True)
    data = credited(KTO(), labels(h, good, torch.zeros_like(h).detach()))
    algo = KTO(beta=0.1, desirable_weight=2.0, undesirable_weight=2.0)
    terms = algo.loss(data).parts["policy"].terms
    (slope,) = torch.autograd.grad(terms.sum(), h)
    assert ((terms.diff() < 0) if good else (terms.diff() > 0)).all()
    assert slope.abs().max().item() == pytest.approx(2 * 0.1 / 4)  # at h = z0: λ β / 4
    assert slope[[0, -1]].abs().max() < 1e-10
    assert terms[30].item() == pytest.approx(1.0)  # λ / 2
