"""What the losses that learn from rollouts share, point by point: advantage, surrogate, aggregation."""

import dataclasses

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import (
    ALGORITHMS,
    CISPO,
    DAPO,
    GMPO,
    GRPO,
    GSPO,
    PPO,
    REINFORCE,
    REINFORCEPP,
    RLOO,
    RTO,
    DrGRPO,
    NashMD,
    PPOAdaptive,
    PPOMax,
    PPOTurns,
    REINFORCEPPBaseline,
    ReMax,
    ReMaxAuthorsCode,
)
from algos.core import FromRollouts
from tests.arms import rollouts
from tests.samples import B, batch, credited, value

ALL = [cls() for cls in ALGORITHMS.values() if issubclass(cls, FromRollouts)]
WHITENED = [GRPO(), DAPO(cache=0.0), GSPO(), CISPO(), GMPO()]
WITHOUT_RATIO = (REINFORCE(), ReMax(), ReMaxAuthorsCode(), NashMD())
GROUPED = [RLOO(kl_coef=0.0), DrGRPO(), *WHITENED]

every = pytest.mark.parametrize("algo", ALL, ids=str)
whitened = pytest.mark.parametrize("algo", WHITENED, ids=str)
grouped = pytest.mark.parametrize("algo", GROUPED, ids=str)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def advantages(algo, rewards, prompt=None) -> torch.Tensor:
    """Of one-token responses."""
    data = rollouts(torch.zeros(len(rewards), 1), rewards, prompt=prompt)
    return credited(algo, data).credit.advantages


# -- when samples are new


@every
def test_credit_is_settled_when_sampling(algo):
    """What the policy has become since then changes nothing."""
    data = batch(algo)
    moved = data.replace(
        responses=data.responses.replace(token_logps=data.responses.token_logps - 1)
    )
    assert_close(vars(credited(algo, moved).credit), vars(credited(algo, data).credit))


@pytest.mark.parametrize("algo", [x for x in ALL if x not in WITHOUT_RATIO], ids=str)
def test_at_first_every_ratio_is_exactly_one(algo):
    data = credited(algo, batch(algo, at_reference=True))
    metrics = algo.loss(data).metrics
    assert (metrics["ratio"] == 1).all()
    assert not metrics["clipfrac"].any()


@every
def test_a_missing_end_is_paid_for_in_the_reward_alone(algo):
    data = batch(algo)
    cut = data.replace(finished=~data.finished)
    assert torch.equal(
        value(algo.loss(credited(algo, cut))), value(algo.loss(credited(algo, data)))
    )


BY_RESPONSE = (REINFORCE(), RLOO(), ReMax(), NashMD())  # the log-probability of the whole response
BY_MEAN = (GRPO(), GSPO(), GMPO())  # a mean over each response
BY_TOKEN = (PPO(), PPOAdaptive(), PPOMax(), PPOTurns(), RTO(), REINFORCEPP(), REINFORCEPPBaseline())
BY_TOKEN += (ReMaxAuthorsCode(), DAPO(), CISPO())


@every
def test_the_first_gradient_is_the_advantage_times_what_the_aggregation_says(algo):
    """Whatever is clipped, and however: −A / (B |y|), −A / Σ |y|, −A / B or −A / (B L) a token."""
    data = credited(algo, batch(algo, at_reference=True))
    mask, a = data.responses.mask, data.credit.advantages
    lengths = data.responses.lengths[:, None]
    if algo in BY_RESPONSE:
        weights = torch.full_like(lengths, 1 / B)
    elif algo in BY_MEAN:
        weights = 1 / (B * lengths)
    elif algo in BY_TOKEN:
        weights = 1 / lengths.sum()
    else:
        assert algo == DrGRPO(max_length=3000.0)
        weights = torch.full_like(lengths, 1 / (B * 3000))
    value(algo.loss(data)).backward()
    want = torch.where(mask, -weights * (a if a.ndim == 2 else a[:, None]), 0.0)
    assert want.any()
    assert_close(data.responses.token_logps.grad, want)


# -- advantages within a group


GOLDEN = tensor([1.0, 0.0, 0.0, 1.0, 0.5])
SIGNS = tensor([1.0, -1.0, -1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("algo", "size"), [(RLOO(), 0.625), (DrGRPO(), 0.5), *((algo, 0.9998) for algo in WHITENED)],
    ids=str,
)  # fmt: skip
def test_golden_advantages(algo, size):
    # mean ½, deviation ½: ½ over itself and 1e-4; less the mean of the others, ½ · 5/4
    assert_close(advantages(algo, GOLDEN), size * SIGNS, atol=1e-6, rtol=0)


@grouped
def test_groups_do_not_see_each_other(algo):
    rewards = torch.randn(7)
    prompt = tensor([5, 2, 5, 2, 2, 9, 5])
    together = advantages(algo, rewards, prompt)
    for group in (2, 5, 9):
        alone = advantages(algo, rewards[prompt == group])
        assert_close(together[prompt == group], alone)


@grouped
def test_a_response_alone_or_among_equals_has_no_advantage(algo):
    """Exactly none, though in single precision the mean of three 0.9 is not 0.9."""
    prompt = tensor([3, 0, 0, 0, 1, 1])
    rewards = tensor([5.0, 0.9, 0.9, 0.9, 1.0, 2.0])
    found = advantages(algo, rewards, prompt)
    assert (found[:4] == 0).all()
    assert (found[4:] != 0).all()


@grouped
def test_advantages_of_a_group_cancel(algo):
    assert_close(advantages(algo, torch.randn(6)).sum(), tensor(0.0), atol=1e-5, rtol=0)


@grouped
def test_what_a_shift_and_a_scale_of_rewards_do(algo):
    rewards = torch.randn(8, dtype=torch.float64)
    scale = 1.0 if algo in WHITENED else 7.0
    got = advantages(algo, 7 * rewards - 3)
    assert_close(got, scale * advantages(algo, rewards), rtol=2e-4, atol=0)  # 1e-4 to a deviation


def test_dr_grpo_is_rloo_but_for_the_size_of_the_group():
    prompt = tensor([0, 0, 0, 1, 1])
    rewards, size = torch.randn(5), tensor([3.0, 3.0, 3.0, 2.0, 2.0])
    dr, loo = (advantages(algo, rewards, prompt) for algo in (DrGRPO(), RLOO(kl_coef=0.0)))
    assert_close(dr * size / (size - 1), loo)


def test_the_baseline_of_reinforce_pp_forgets_what_sets_prompts_apart():
    prompt, rewards = tensor([0, 0, 1, 1]), tensor([1.0, 2.0, 7.0, 8.0])
    # ∓½ in either group, of which the variance over n − 1 is ⅓
    want = tensor([-1.0, 1.0, -1.0, 1.0])[:, None] * 0.75**0.5
    assert_close(advantages(REINFORCEPPBaseline(), rewards, prompt), want)
    assert not advantages(REINFORCEPPBaseline(), torch.full((4,), 0.1), prompt).any()
    assert not advantages(REINFORCEPPBaseline(), rewards, torch.arange(4)).any()


# -- how long responses count


@pytest.mark.parametrize(
    ("algo", "share"), [(GRPO(), 0.5), (GSPO(), 0.5), (GMPO(), 0.5), (DrGRPO(), 1.0), (DAPO(), 1.0)],
    ids=str,
)  # fmt: skip
def test_what_a_token_of_a_response_twice_as_long_weighs(algo, share):
    """Two bad responses of one and of two tokens, and a good one."""
    mask = tensor([[True, False], [True, True], [True, True]])
    logps = torch.zeros(3, 2, requires_grad=True)
    data = rollouts(logps, tensor([-1.0, -1.0, 1.0]), mask=mask)
    value(algo.loss(credited(algo, data))).backward()
    short, long = logps.grad[0, 0], logps.grad[1]
    assert short > 0
    assert_close(long, share * short.expand(2))


# -- clips


def moves(algo, logratios: torch.Tensor, advantage: float) -> torch.Tensor:
    """The gradient by the log-probabilities of one response with this advantage, times its length."""
    old = torch.zeros_like(logratios)
    logps = logratios.clone().requires_grad_()
    data = rollouts(logps, torch.zeros(1), old=old)
    credit = credited(algo, data).credit
    given = torch.full_like(credit.advantages, advantage)
    kept = {"kept": torch.ones(1)} if isinstance(algo, DAPO) else {}
    credit = dataclasses.replace(credit, advantages=given, **kept)
    value(algo.loss(data.replace(credit=credit))).backward()
    return logps.grad * logratios.shape[1]


@pytest.mark.parametrize(
    "algo",
    [
        REINFORCEPP(),
        REINFORCEPPBaseline(kl_coef=0.0),
        GRPO(kl_coef=0.0),
        DrGRPO(max_length=4.0),
        DAPO(clip_high=0.2),
    ],
    ids=str,
)
def test_clip_of_a_token_table(algo):
    """At 1 ± 0.2 a token stops that would lead further away, and none that leads back."""
    ratio = tensor([[1.3, 1.1, 0.9, 0.7]])
    assert_close(moves(algo, ratio.log(), 1.0), -tensor([[0.0, 1.1, 0.9, 0.7]]))
    assert_close(moves(algo, ratio.log(), -1.0), tensor([[1.3, 1.1, 0.9, 0.0]]))
    far = tensor([[5.0, 5.0, 5.0, 5.0]])
    assert_close(moves(algo, far.log(), -1.0), far)  # no second clip


@pytest.mark.parametrize("algo", [RLOO(), GSPO(clip_low=0.2, clip_high=0.2)], ids=str)
def test_clip_of_a_response_table(algo):
    """As above, of the ratio of the response: the product of its tokens', or their geometric mean."""
    for ratio, up, down in ((1.3, 0.0, 1.3), (1.1, -1.1, 1.1), (0.9, -0.9, 0.9), (0.7, -0.7, 0.0)):
        tokens = tensor([[3.0, ratio / 3]]).log() * (1 if isinstance(algo, RLOO) else 2)
        length = 2.0 if isinstance(algo, RLOO) else 1.0
        assert_close(moves(algo, tokens, 1.0), torch.full((1, 2), up * length))
        assert_close(moves(algo, tokens, -1.0), torch.full((1, 2), down * length))


@pytest.mark.parametrize("algo", [GSPO(clip_low=0.2, clip_high=0.2), RLOO()], ids=str)
def test_with_one_token_a_response_is_clipped_as_its_token(algo):
    twin = GRPO(kl_coef=0.0)
    for logratio in (-1.0, -0.1, 0.1, 1.0):
        for advantage in (-2.0, 1.0):
            one = tensor([[logratio]])
            assert_close(moves(algo, one, advantage), moves(twin, one, advantage))


def test_gspo_follows_grpo_while_samples_are_new():
    """One gradient on-policy, whatever the lengths."""
    data = batch(GSPO(), at_reference=True)
    found = []
    for algo in (GSPO(), GRPO(kl_coef=0.0), GMPO()):
        loss = value(algo.loss(credited(algo, data)))
        found += torch.autograd.grad(loss, data.responses.token_logps)
    assert found[0].any()
    assert_close(found[0], found[1])
    assert_close(found[0], found[2])
