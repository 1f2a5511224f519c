"""PPO over turns: its credit by hand, what it is a case of, and when it pays to ask first."""

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

from algos import PPO, PPOTurns
from algos.core import Critic, Responses, Rollouts
from algos.ops import at_last_token
from tests.arms import follow, sampled
from tests.samples import batch, credited
from tests.test_laws import value_and_gradients

YES, NO = True, False
NAN = float("nan")

# -- credit


def dialogue(values, mask, earned, reward, discounts, ref=0.0) -> Rollouts:
    """One dialogue under a policy with log π_old = 0."""
    zeros = torch.zeros_like(values)
    return Rollouts(
        responses=Responses(token_logps=zeros, token_ref_logps=zeros + ref, mask=mask),
        token_old_logps=zeros,
        rewards=tensor([reward]),
        prompt=tensor([0]),
        finished=tensor([YES]),
        token_rewards=earned,
        token_discounts=discounts,
        critic=Critic(values=values, old_values=values),
    )


def test_credit_by_hand():
    # turns of two tokens and of one, two foreign ones between. r = (0, −0.3 | 1), less β k1 = 0.2 · ½:
    # (−0.1, −0.4 | 0.9); γ = ½ at the end of the first; V = (0.2, 0.4 | 0.6), λ = ½:
    # δ₃ = 0.9 − 0.6 = 0.3, A₃ = 0.3; δ₂ = −0.4 + ½ · 0.6 − 0.4 = −0.5, A₂ = −0.5 + ½ · ½ · 0.3 = −0.425;
    # δ₁ = −0.1 + 0.4 − 0.2 = 0.1, A₁ = 0.1 − ½ · 0.425 = −0.1125
    mask = tensor([[YES, YES, NO, NO, YES]])
    data = dialogue(
        values=tensor([[0.2, 0.4, NAN, NAN, 0.6]]),
        mask=mask,
        earned=tensor([[0.0, -0.3, NAN, NAN, 0.0]]),
        reward=1.0,
        discounts=tensor([[1.0, 0.5, NAN, NAN, 1.0]]),
        ref=-0.5,
    )
    credit = credited(PPOTurns(kl_coef=0.2, lam=0.5), data).credit
    assert_close(credit.returns, tensor([[0.0875, -0.025, 0.0, 0.0, 0.9]]))
    advantages = tensor([-0.1125, -0.425, 0.3])
    whitened = (advantages - advantages.mean()) / advantages.std()
    assert_close(credit.advantages[mask], whitened, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("discount", "asking"), [(1.0, 0.7), (0.5, 0.2), (0.0, -0.3)])
def test_a_question_is_worth_what_it_earns_later_at_its_price(discount, asking):
    # λ = 1, V = 0: the return of both tokens of the question is −0.3 + γ 1, however long the answer is
    mask = tensor([[YES, YES, NO, YES, YES, YES]])
    zeros, ends = torch.zeros(1, 6), tensor([[1.0, discount, 1.0, 1.0, 1.0, 1.0]])
    earned = tensor([[0.0, -0.3, 0.0, 0.0, 0.0, 0.0]])
    data = dialogue(zeros, mask, earned, 1.0, ends)
    returns = credited(PPOTurns(lam=1.0, kl_coef=0.0), data).credit.returns
    assert_close(returns, tensor([[asking, asking, 0.0, 1.0, 1.0, 1.0]]))


def test_at_discount_zero_a_turn_is_credited_as_if_it_were_alone():
    torch.manual_seed(0)
    mask = tensor([[YES, YES, NO, YES, YES]])
    earned, reward = tensor([[0.0, -0.3, 0.0, 0.0, 0.0]]), 1.0
    values, ref = torch.randn(1, 5), torch.randn(1, 5)
    data = dialogue(values, mask, earned, reward, tensor([[1.0, 0.0, 1.0, 1.0, 1.0]]), ref)
    whole = credited(PPOTurns(lam=0.7), data).credit.returns
    for own, paid in ([YES, YES, NO, NO, NO], -0.3), ([NO, NO, NO, YES, YES], 1.0):
        alone = data.replace(
            responses=data.responses.replace(mask=tensor([own])),
            rewards=tensor([paid]),
            token_rewards=0 * earned,
        )
        returns = credited(PPOTurns(lam=0.7), alone).credit.returns
        assert_close(whole[:, own], returns[:, own])


def test_one_price_everywhere_and_no_rewards_of_turns_make_it_ppo():
    torch.manual_seed(0)
    data = batch(PPOTurns())
    plain = data.replace(
        token_rewards=torch.zeros_like(data.token_rewards),
        token_discounts=torch.full_like(data.token_discounts, 0.8),
    )
    knobs = {"clip": 0.1, "value_clip": 0.3, "value_coef": 0.5, "kl_coef": 0.2, "lam": 0.6}
    got = value_and_gradients(PPOTurns(**knobs), plain)
    assert_close(got, value_and_gradients(PPO(gamma=0.8, **knobs), plain))


def test_what_is_earned_at_the_last_token_is_a_reward():
    torch.manual_seed(0)
    data = batch(PPOTurns())
    last = at_last_token(data.rewards, data.responses.mask)
    moved = data.replace(rewards=0 * data.rewards, token_rewards=data.token_rewards + last)
    assert_close(vars(credited(PPOTurns(), moved).credit), vars(credited(PPOTurns(), data).credit))


# -- answer at once, or ask, hear something, and say what is right or wrong

FIRST, SECOND = tensor([0.6, 0.4]).double().log(), tensor([0.3, 0.7]).double().log()  # of π_ref
AT_ONCE, COST, RIGHT, WRONG, BETA = 0.3, 0.1, 1.0, 0.0, 0.4
CHOICES = tensor([[0, -1], [1, 0], [1, 1]])  # answer; ask, then right or wrong
HEARD = tensor([[YES, NO, NO], [YES, NO, YES], [YES, NO, YES]])  # the middle is the other's


def later() -> float:
    """β log Σ π_ref exp(R / β): the best that can be had after asking, KL paid."""
    return (BETA * (SECOND + tensor([RIGHT, WRONG]) / BETA).logsumexp(-1)).item()


def optimum(discount: float) -> Tensor:
    """How the first turn ends up: π_ref exp(Q / β), Q = −cost + γ V for asking."""
    worth = tensor([AT_ONCE, discount * later() - COST]).double()
    return (FIRST + worth / BETA).softmax(-1)


def learned(discount: float, lam: float) -> tuple[Tensor, Tensor]:
    """Where PPO leads from π_ref, given true values: the first and the second turn's policy."""
    algo = PPOTurns(kl_coef=BETA, lam=lam)

    def rollouts(logits):
        first, second = logits[:2].log_softmax(-1), logits[2:].log_softmax(-1)
        nothing = torch.zeros(3, dtype=torch.float64)

        def at(one, two):
            other = two[CHOICES[:, 1].clamp(min=0)]
            return torch.stack([one[CHOICES[:, 0]], nothing, other], -1)

        logps, ref = at(first, second), at(FIRST, SECOND)
        p, q = first.detach().exp(), second.detach().exp()
        after = (q * (tensor([RIGHT, WRONG]) - BETA * (q.log() - SECOND))).sum()
        gain = torch.stack([tensor(AT_ONCE).double(), discount * after - COST])
        before = (p * (gain - BETA * (p.log() - FIRST))).sum()
        rows = sampled((logps.detach() * HEARD).sum(-1).exp(), 200)
        values = torch.stack([before.expand(3), nothing, after.expand(3)], -1)[rows]
        asked = CHOICES[:, 0] == 1
        return Rollouts(
            responses=Responses(
                token_logps=logps[rows], token_ref_logps=ref[rows], mask=HEARD[rows]
            ),
            token_old_logps=logps.detach()[rows],
            rewards=tensor([AT_ONCE, RIGHT, WRONG]).double()[rows],
            prompt=rows,
            finished=torch.ones(len(rows), dtype=torch.bool),
            token_rewards=(-COST * asked[:, None] * tensor([1.0, 0.0, 0.0]).double())[rows],
            token_discounts=tensor([[discount, 1.0, 1.0]]).double().expand(len(rows), 3),
            critic=Critic(values=values, old_values=values),
        )

    end = follow(algo, torch.cat([FIRST, SECOND]), rollouts)
    return end[:2].softmax(-1), end[2:].softmax(-1)


@pytest.mark.parametrize(("discount", "lam"), [(1.0, 0.0), (1.0, 0.95), (0.5, 1.0), (0.0, 0.95)])
def test_the_first_turn_looks_as_far_ahead_as_the_discount_lets_it(discount, lam):
    """Whatever the first does, the second turn does its best."""
    first, second = learned(discount, lam)
    assert_close(first, optimum(discount), atol=5e-3, rtol=0)
    best = (SECOND + tensor([RIGHT, WRONG]) / BETA).softmax(-1)
    assert_close(second, best, atol=5e-3, rtol=0)


def test_asking_pays_from_one_discount_on():
    """It becomes more usual than it was where γ > (answer at once + cost) / V, and rarer below."""
    threshold = (AT_ONCE + COST) / later()
    assert 0 < threshold < 1
    usual = FIRST.exp()[1]
    assert_close(optimum(threshold)[1], usual)
    for discount in (threshold + 0.05, threshold - 0.05):
        first, _ = learned(discount, lam=1.0)
        assert (first[1] > usual) == (discount > threshold)
        assert abs(first[1] - usual) > 0.01
