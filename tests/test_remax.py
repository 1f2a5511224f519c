"""ReMax: against the greedy answer, as printed and as its authors run it."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import ReMax, ReMaxAuthorsCode
from tests.arms import rollouts
from tests.samples import credited, value

YES, NO, NAN = True, False, float("nan")
MASK = tensor([[YES, NO, YES, YES], [YES, YES, NO, NO]])
KL = tensor([[0.5, NAN, 1.0, 2.0], [-1.0, 3.0, NAN, NAN]])  # k1 of each token


def two_responses(logps=None):
    """They beat their greedy answers by 1 and by −9."""
    logps = torch.zeros(2, 4) if logps is None else logps
    return rollouts(
        logps, tensor([3.0, 1.0]), old=torch.zeros(2, 4), ref=-KL, mask=MASK,
        prompt=torch.arange(2), baselines=tensor([2.0, 10.0]),
    )  # fmt: skip


def test_a_token_pays_for_what_it_entails():
    # 1 − 0.2 · (3.5, 3, 2) and −9 − 0.2 · (2, 3)
    got = credited(ReMax(kl_coef=0.2), two_responses()).credit.advantages
    assert_close(got, tensor([[0.3, 0.0, 0.4, 0.6], [-9.4, -9.6, 0.0, 0.0]]))


def test_as_its_authors_run_it_a_token_pays_for_itself():
    # γ = ½ to the power of tokens to come, itself among them; −9 clipped at −5:
    # (⅛, ¼, ½) − 0.2 · (½, 1, 2) and −5 · (¼, ½) − 0.2 · (−1, 3)
    algo = ReMaxAuthorsCode(kl_coef=0.2, gamma=0.5)
    got = credited(algo, two_responses()).credit.advantages
    assert_close(got, tensor([[0.025, 0.0, 0.05, 0.1], [-1.05, -3.1, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("algo", "tokens"), [(ReMax(kl_coef=0.0), 2.0), (ReMaxAuthorsCode(0.0, 1.0, 9.0), 5.0)], ids=str
)
def test_a_sum_over_the_response_or_a_mean_over_all_tokens(algo, tokens):
    """−A log π_θ, without a ratio to the policy that sampled: A = 1 and −9, divided by 2 or by 5."""
    logps = torch.full((2, 4), -3.0, requires_grad=True)
    loss = algo.loss(credited(algo, two_responses(logps)))
    value(loss).backward()
    assert_close(logps.grad, torch.where(MASK, tensor([[-1.0], [9.0]]), 0.0) / tokens)
    assert_close(value(loss).detach(), tensor((3 * 3 - 2 * 27) / tokens))
    assert_close(loss.metrics["advantage"], tensor([1.0, 1.0, 1.0, -9.0, -9.0]))


def test_as_good_as_the_greedy_answer_is_no_better():
    data = two_responses().replace(baselines=tensor([3.0, 1.0]))
    for algo in (ReMax(kl_coef=0.0), ReMaxAuthorsCode(kl_coef=0.0)):
        assert not credited(algo, data).credit.advantages.any()
