"""GMPO: the geometric mean of clipped ratios."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import GMPO
from tests.arms import rollouts
from tests.samples import credited, value


def step(logratios: torch.Tensor, advantage: float, mask: torch.Tensor | None = None):
    """(value, gradient, metrics) of one response with this advantage, under a clip of ½."""
    logps = logratios.clone().requires_grad_()
    data = rollouts(logps, torch.zeros(1), old=torch.zeros_like(logratios), mask=mask)
    credit = type(credited(GMPO(), data).credit)(tensor([advantage]))
    loss = GMPO(clip=0.5).loss(data.replace(credit=credit))
    value(loss).backward()
    return value(loss).detach(), logps.grad, loss.metrics


@pytest.mark.parametrize(
    ("advantage", "near", "free"),
    [
        (2.0, [0.5, 0.3, -0.3, -2.0], [0.0, 1.0, 1.0, 1.0]),  # good: at most e^½
        (-2.0, [2.0, 0.3, -0.3, -0.5], [1.0, 1.0, 1.0, 0.0]),  # bad: at least e^−½
    ],
)
def test_geometric_mean_table(advantage, near, free):
    """−A exp(mean of clipped log-ratios); a token that is clipped has no gradient, and the others
    −A exp(mean) / |y|. A gap counts for nothing.
    """
    ratio = tensor(near).mean().exp()
    total, gradient, metrics = step(tensor([[2.0, 0.3, -0.3, -2.0]]), advantage)
    assert_close(total, -advantage * ratio)
    assert_close(gradient, -advantage * ratio / 4 * tensor([free]))
    assert_close(metrics["ratio"], ratio[None])
    assert_close(metrics["clipfrac"], 1 - tensor(free))

    gapped = tensor([[2.0, 0.3, 9.0, -0.3, -2.0, 9.0]])
    mask = tensor([[True, True, False, True, True, False]])
    assert_close(step(gapped, advantage, mask)[0], total)


def test_one_outlier_weighs_less_than_in_an_arithmetic_mean():
    """Unclipped, where a token became far likelier and nothing is gained by it."""
    logratios = tensor([[3.0, 0.0, 0.0, 0.0]])
    total, *_ = step(logratios, -1.0)
    assert_close(total, tensor(0.75).exp())
    assert total < 0.4 * logratios.exp().mean()


def test_responses_count_the_same():
    mask = tensor([[True, False, False], [True, True, True]])
    logps = torch.zeros(2, 3, requires_grad=True)
    data = credited(GMPO(), rollouts(logps, tensor([0.0, 1.0]), mask=mask))
    value(GMPO().loss(data)).backward()
    assert_close(logps.grad.sum(-1), -data.credit.advantages / 2)
