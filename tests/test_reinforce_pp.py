"""REINFORCE++: the price of what is still to come, whitened over the batch."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import REINFORCEPP, REINFORCEPPBaseline
from algos.core import Responses
from tests.arms import rollouts
from tests.samples import credited, value

YES, NO, NAN = True, False, float("nan")


def test_credit_by_hand():
    # k1 = (½, 1, 2) at β = 0.2, reward 1 at the end: 1 − 0.2 · (3.5, 3, 2) = (0.3, 0.4, 0.6), the
    # mean 13/30, squares (16 + 1 + 25) / 900 over n − 1 = 2
    zeros = torch.zeros(1, 3)
    data = rollouts(zeros, tensor([1.0]), ref=-tensor([[0.5, 1.0, 2.0]]))
    got = credited(REINFORCEPP(kl_coef=0.2), data).credit.advantages
    assert_close(got, tensor([[-4.0, -1.0, 5.0]]) / 21**0.5)


def test_credit_steps_over_gaps_and_padding():
    """As by hand above."""
    zeros, mask = torch.zeros(1, 5), tensor([[YES, NO, YES, YES, NO]])
    data = rollouts(zeros, tensor([1.0]), ref=-tensor([[0.5, NAN, 1.0, 2.0, NAN]]), mask=mask)
    got = credited(REINFORCEPP(kl_coef=0.2), data).credit.advantages
    assert_close(got, tensor([[-4.0, 0.0, -1.0, 5.0, 0.0]]) / 21**0.5)


def test_every_token_counts_in_the_mean():
    """With the baseline, too: centred rewards ±1 on three tokens and on one, less their mean ½."""
    mask = tensor([[YES, YES, YES], [YES, NO, NO]])
    for algo in (REINFORCEPP(kl_coef=0.0), REINFORCEPPBaseline()):
        data = rollouts(torch.zeros(2, 3), tensor([3.0, 1.0]), mask=mask)
        want = tensor([[0.5, 0.5, 0.5], [-1.5, 0.0, 0.0]])
        assert_close(credited(algo, data).credit.advantages, want)


def test_the_baseline_pays_for_distance_in_the_loss():
    # log-ratios 1 and −2 at β = ½: ½ · ½ (1 + 4) / 2, a mean over both tokens; d/dlogp = ½ h / 2
    logps = tensor([[1.0, -2.0]], requires_grad=True)
    zeros = torch.zeros(1, 2)
    data = credited(REINFORCEPPBaseline(), rollouts(logps, tensor([7.0]), ref=zeros))
    loss = REINFORCEPPBaseline(kl_coef=0.5).loss(data)
    price = loss.share(loss.weights, {"kl"})
    assert_close(price.detach(), tensor(0.625))
    assert_close(loss.metrics["k2"], tensor([0.5, 2.0]))
    price.backward()
    assert_close(logps.grad, tensor([[0.25, -0.5]]))
    assert value(loss) == price  # alone, a response has no advantage


def test_the_loss_is_a_mean_over_all_tokens():
    mask = tensor([[YES, YES, YES], [YES, NO, NO]])
    data = rollouts(torch.zeros(2, 3), tensor([3.0, 1.0]), mask=mask)
    data = credited(REINFORCEPP(kl_coef=0.0), data)
    now = Responses(token_logps=tensor([[1.1], [0.9]]).log().expand(2, 3), mask=mask)
    assert_close(
        value(REINFORCEPP().loss(data.replace(responses=now))),
        tensor(-(3 * 1.1 * 0.5 - 0.9 * 1.5) / 4),
    )
