"""BCO: its shift is a memory of all rewards, and its loss a bound. Its optimum: test_bandit.py."""

import pytest
import torch
from torch import tensor
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from algos import BCO
from algos.bco import Credit, State
from algos.core import Labels
from tests.arms import tokens
from tests.samples import batch, credited, value


def labels(h: list[float], good: list[bool], weight: list[float]) -> Labels:
    return Labels(
        responses=tokens(tensor(h), torch.zeros(len(h))),
        desirable=tensor(good),
        weight=tensor(weight),
    )


def test_worked_by_hand():
    # β = ½: rewards 2 and −1, δ = ½; ½ [log(1 + e^−1.5) + 3 log(1 + e^−1.5)]
    algo = BCO(beta=0.5)
    loss = algo.loss(credited(algo, labels([4.0, -2.0], [True, False], [1.0, 3.0])))
    assert_close(value(loss), -2 * logsigmoid(tensor(1.5)))
    assert_close(loss.metrics, {"reward": tensor([2.0, -1.0])})
    assert loss.weights["policy"] == 2  # a weight is no share of the mean


def test_the_shift_is_the_mean_of_all_rewards_so_far():
    algo, generator = BCO(beta=0.5), torch.Generator()
    state, seen = algo.start(), []
    assert vars(state) == vars(State(tensor(0.0), tensor(0.0)))
    for h in ([4.0, -2.0], [10.0], [0.0, 0.0, 1.0]):
        seen += h
        n = len(h)
        credit, state = algo.credit(labels(h, [True] * n, [1.0] * n), state, generator)
        mean = 0.5 * tensor(seen).mean()
        assert_close(credit.shift, mean)
        assert_close(state.mean, mean)
        assert state.count == len(seen)


def test_the_shift_is_that_of_whole_responses_and_has_no_gradient():
    data = credited(BCO(beta=0.5), batch(BCO()))
    assert_close(data.credit.shift, 0.5 * data.responses.logratios.mean().detach())
    assert not data.credit.shift.requires_grad


def test_bounds_dpo_whatever_the_shift():
    torch.manual_seed(0)
    chosen, rejected, shift = 3 * torch.randn(3, 1000)
    apart = -logsigmoid(chosen - shift) - logsigmoid(shift - rejected)
    assert (apart >= -logsigmoid(chosen - rejected)).all()
    n = len(chosen)
    data = Labels(
        responses=tokens(torch.cat([chosen, rejected]), torch.zeros(2 * n)),
        desirable=torch.arange(2 * n) < n,
        weight=torch.ones(2 * n),
        credit=Credit(tensor(0.3)),
    )
    terms = BCO(beta=1.0).loss(data).parts["policy"].terms
    assert (terms[:n] + terms[n:] >= -logsigmoid(chosen - rejected)).all()


@pytest.mark.parametrize("good", [True, False])
def test_a_weight_counts_its_own_response(good):
    data = credited(BCO(), labels([1.0, 2.0], [good, good], [0.0, 0.5]))
    terms = BCO().loss(data).parts["policy"].terms
    even = BCO().loss(data.replace(weight=torch.ones(2))).parts["policy"].terms
    assert_close(terms, tensor([0.0, 0.5]) * even)


def test_at_the_reference_it_costs_log_two():
    data = credited(BCO(), labels([0.0] * 3, [True, False, False], [1.0] * 3))
    assert data.credit.shift == 0
    assert_close(value(BCO().loss(data)), tensor(2.0).log())
