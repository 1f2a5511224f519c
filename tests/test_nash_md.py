"""Nash-MD: the last iterate of a game that best responses go round in."""

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

from algos import NashMD
from algos.core import Responses, Rollouts
from tests.samples import credited, value

# Each beats the next: no answer is best.
CYCLE = tensor([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]], dtype=torch.float64)
MU = tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()


def one_each(logps: Tensor, rewards: Tensor) -> Rollouts:
    """Every one-token answer once, on policy."""
    return Rollouts(
        responses=Responses(
            token_logps=logps[:, None], token_ref_logps=MU[:, None],
            mask=torch.ones(len(MU), 1, dtype=torch.bool),
        ),
        token_old_logps=logps.detach()[:, None],
        rewards=rewards,
        prompt=torch.arange(len(MU)),
        finished=torch.ones(len(MU), dtype=torch.bool),
    )  # fmt: skip


def climb(tau: float, steps: int, eta) -> list[Tensor]:
    """Mirror ascent on the advantages that the algorithm assigns, against π^(1 − ητ) μ^(ητ)."""
    logps, path = MU.clone(), []
    for t in range(steps):
        against = ((1 - eta(t) * tau) * logps + eta(t) * tau * MU).softmax(-1)
        data = credited(NashMD(tau=tau), one_each(logps, CYCLE @ against))
        logps = (logps + eta(t) * data.credit.advantages).log_softmax(-1)
        path.append(logps)
    return path


@pytest.mark.parametrize(
    ("tau", "nash"),
    [
        (0.5, [0.5047, 0.2470, 0.2484]),
        (1.0, [0.5110, 0.2679, 0.2211]),
        (2.0, [0.5078, 0.2828, 0.2094]),
    ],
)
def test_the_last_iterate_is_as_near_as_promised(tau, nash):
    """KL(π* ‖ π_t) ≤ 8 / (τ² (t + 1)) with η_t = 2 / (τ (t + 2)): theorem 1 of the paper."""
    path = climb(tau, 4000, lambda t: 2 / (tau * (t + 2)))
    best = path[-1]
    # the equilibrium is its own answer: π* ∝ μ exp(P(· ≻ π*) / τ)
    assert_close((MU + CYCLE @ best.exp() / tau).softmax(-1), best.exp(), atol=2e-3, rtol=0)
    assert_close(best.exp(), tensor(nash, dtype=torch.float64), atol=2e-3, rtol=0)
    exact = MU.clone()
    for _ in range(5000):  # damped, and so it does not go round
        exact = 0.98 * exact + 0.02 * (MU + CYCLE @ exact.softmax(-1) / tau).log_softmax(-1)
    exact = exact.log_softmax(-1)
    assert_close(exact.exp(), tensor(nash, dtype=torch.float64), atol=1e-4, rtol=0)
    for t in (0, 1, 3, 10, 100, 1000, 3999):
        gap = (exact.exp() * (exact - path[t])).sum()
        assert gap <= 8 / (tau**2 * (t + 2))


def test_the_gradient_is_that_of_the_advantages():
    # ½ preferred, drift log 2: A = P − ½ − τ log π/μ, and the loss's gradient is −A over the batch
    logps = MU.clone().requires_grad_()
    rewards = tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    data = one_each(logps, rewards)
    data = data.replace(token_old_logps=(MU + torch.tensor(2.0).log())[:, None])
    loss = value(NashMD(tau=0.1).loss(credited(NashMD(tau=0.1), data)))
    (gradient,) = torch.autograd.grad(loss, logps)
    drift = 0.1 * torch.tensor(2.0, dtype=torch.float64).log()
    assert_close(gradient, -(rewards - 0.5 - drift) / 3)


def test_the_drift_is_that_of_the_whole_response():
    mask = tensor([[True, False, True]])
    nan = float("nan")
    data = Rollouts(
        responses=Responses(
            token_logps=torch.zeros(1, 3), token_ref_logps=tensor([[-1.0, nan, -2.0]]), mask=mask
        ),
        token_old_logps=tensor([[-0.5, nan, -0.5]]),
        rewards=tensor([0.5]),
        prompt=tensor([0]),
        finished=tensor([True]),
    )
    assert_close(credited(NashMD(tau=0.1), data).credit.advantages, tensor([-0.1 * (0.5 + 1.5)]))
