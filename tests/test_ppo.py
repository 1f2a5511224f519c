"""PPO's credit and its two parts, by hand. Clip tables and GAE: test_golden.py."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import PPO
from algos.core import Critic, Responses, Rollouts
from algos.ppo import Credit
from tests.samples import batch, credited, value

YES, NO = True, False
NAN = float("nan")


def rollouts(logps, old, ref, values, rewards, mask=None) -> Rollouts:
    mask = torch.ones(logps.shape, dtype=torch.bool) if mask is None else mask
    return Rollouts(
        responses=Responses(token_logps=logps, token_ref_logps=ref, mask=mask),
        token_old_logps=old,
        rewards=rewards,
        prompt=torch.arange(len(rewards)),
        finished=torch.ones(len(rewards), dtype=torch.bool),
        critic=Critic(values=values, old_values=values),
    )


# -- credit


def test_credit_by_hand():
    # reward 1 on the last token, k1 = (½, 1) at β = 0.2: r = (−0.1, 0.8); V = (½, ¼), γ = 1, λ = 0:
    # δ = (−0.1 + ¼ − ½, 0.8 − ¼) = (−0.35, 0.55), returns A + V = (0.15, 0.8)
    zeros = torch.zeros(1, 2)
    data = rollouts(zeros, zeros, tensor([[-0.5, -1.0]]), tensor([[0.5, 0.25]]), tensor([1.0]))
    credit = credited(PPO(kl_coef=0.2, lam=0.0), data).credit
    assert_close(credit.returns, tensor([[0.15, 0.8]]))
    assert_close(credit.advantages, tensor([[-1.0, 1.0]]) * 0.5**0.5)


def test_credit_steps_over_gaps_and_padding():
    """As by hand above, with a foreign token between and padding behind."""
    gapped, mask = tensor([[0.0, NAN, 0.0, NAN]]), tensor([[YES, NO, YES, NO]])
    data = rollouts(
        gapped, gapped, tensor([[-0.5, NAN, -1.0, NAN]]), tensor([[0.5, NAN, 0.25, NAN]]),
        tensor([1.0]), mask,
    )  # fmt: skip
    credit = credited(PPO(kl_coef=0.2, lam=0.0), data).credit
    assert_close(credit.returns, tensor([[0.15, 0.0, 0.8, 0.0]]))
    assert_close(credit.advantages, tensor([[-1.0, 0.0, 1.0, 0.0]]) * 0.5**0.5)


def test_gamma_discounts_every_step():
    # γ = ½, λ = 1, V = 0, reward 4 at the end, no KL: returns 1, 2, 4
    zeros = torch.zeros(1, 3)
    data = rollouts(zeros, zeros, zeros, zeros, tensor([4.0]))
    credit = credited(PPO(gamma=0.5, lam=1.0), data).credit
    assert_close(credit.returns, tensor([[1.0, 2.0, 4.0]]))


def test_penalties_add_up_to_the_log_ratio_of_the_response():
    """At γ = λ = 1 the first return is R − β Σ k1, and Σ k1 = log π_old(y) − log π_ref(y)."""
    torch.manual_seed(0)
    data = batch(PPO())
    data = data.replace(critic=data.critic.replace(old_values=0 * data.critic.old_values))
    old, ref = (
        data.responses.replace(token_logps=x).logps
        for x in (data.token_old_logps, data.responses.token_ref_logps)
    )
    credit = credited(PPO(kl_coef=0.3, lam=1.0), data).credit
    assert data.responses.mask[:, 0].all()
    assert_close(credit.returns[:, 0], data.rewards - 0.3 * (old - ref))


def test_credit_is_settled_when_sampling():
    """What the policy and the critic have become since then changes nothing."""
    torch.manual_seed(0)
    data = batch(PPO())
    moved = data.replace(
        responses=data.responses.replace(token_logps=data.responses.token_logps - 1),
        critic=data.critic.replace(values=data.critic.values + 1),
    )
    assert_close(vars(credited(PPO(), moved).credit), vars(credited(PPO(), data).credit))


def test_advantages_are_whitened_and_returns_are_not():
    torch.manual_seed(0)
    data = credited(PPO(), batch(PPO()))
    mask = data.responses.mask
    advantages = data.credit.advantages
    assert not advantages[~mask].any()
    assert_close(advantages[mask].mean().item(), 0.0, atol=1e-6, rtol=0)
    assert_close(advantages[mask].std().item(), 1.0, atol=1e-5, rtol=0)
    raw = (data.credit.returns - data.critic.old_values)[mask]
    assert_close(advantages[mask], (raw - raw.mean()) / raw.std(), atol=1e-5, rtol=0)


def test_a_shift_and_a_scale_of_one_step_rewards_do_not_move_the_policy():
    """Whitening forgets both; with values and KL out of the way nothing else depends on them."""
    zeros = torch.zeros(4, 1)

    def advantages(rewards):
        return credited(PPO(), rollouts(zeros, zeros, zeros, zeros, rewards)).credit.advantages

    rewards = tensor([1.0, 3.0, -2.0, 0.0])
    assert_close(advantages(10 * rewards + 7), advantages(rewards))


# -- loss


def test_at_ratio_one_the_gradient_is_the_policy_gradient():
    torch.manual_seed(0)
    data = credited(PPO(), batch(PPO(), at_reference=True))
    loss = PPO().loss(data)
    loss.parts["policy"].total.backward()
    assert_close(data.responses.token_logps.grad, -data.credit.advantages)
    tokens = int(data.responses.mask.sum())
    assert_close(loss.metrics["ratio"], torch.ones(tokens))
    assert_close(loss.metrics["clipfrac"], torch.zeros(tokens))
    mean = data.credit.advantages[data.responses.mask].mean()
    assert_close(loss.share(loss.weights, {"policy"}), -mean)


def test_clip_stops_only_the_gradient_that_leads_further_away():
    ratio, advantages = tensor([[1.5, 1.5, 0.5, 0.5]]), tensor([[1.0, -1.0, 1.0, -1.0]])
    logps, zeros = ratio.log().requires_grad_(), torch.zeros(1, 4)
    data = rollouts(logps, zeros, zeros, zeros, torch.zeros(1))
    data = data.replace(credit=Credit(advantages, returns=zeros))
    loss = PPO(clip=0.2).loss(data)
    loss.parts["policy"].total.backward()
    assert_close(logps.grad, tensor([[0.0, 1.5, -0.5, 0.0]]))
    assert_close(loss.metrics["clipfrac"], tensor([1.0, 0.0, 0.0, 1.0]))


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_ratio_beyond_all_numbers_has_a_gradient(advantage):
    logps = tensor([[-1.0]], requires_grad=True)
    data = rollouts(logps, tensor([[-1e4]]), logps.detach(), torch.zeros(1, 1), torch.zeros(1))
    data = data.replace(credit=Credit(tensor([[advantage]]), returns=torch.zeros(1, 1)))
    loss = value(PPO().loss(data))
    loss.backward()
    assert loss.isfinite()
    assert_close(logps.grad, torch.zeros(1, 1))
    assert_close(data.token_ratios, tensor([[20.0]]).exp())


def test_the_critic_is_drawn_to_returns_within_its_clip():
    # V_old = ½, ε = 0.2, V = (1, 1), R = (0.2, 2): ½ · 0.64 and ½ · 1.3², the mean of two tokens,
    # c = ½; only the first still moves
    values, old = tensor([[1.0, 1.0]], requires_grad=True), tensor([[0.5, 0.5]])
    zeros = torch.zeros(1, 2)
    data = rollouts(zeros, zeros, zeros, old, torch.zeros(1))
    data = data.replace(
        critic=Critic(values=values, old_values=old), credit=Credit(zeros, tensor([[0.2, 2.0]]))
    )
    loss = PPO(value_clip=0.2, value_coef=0.5).loss(data)
    got = value(loss)
    got.backward()
    assert_close(got.detach(), tensor(0.5 * (0.32 + 0.845) / 2))
    assert_close(values.grad, tensor([[0.5 * 0.8 / 2, 0.0]]))
    assert_close(loss.metrics["value"], tensor([1.0, 1.0]))


def test_policy_and_critic_are_two_parts():
    torch.manual_seed(0)
    data = credited(PPO(), batch(PPO()))
    loss = PPO().loss(data)
    assert set(loss.parts) == {"policy", "value"}
    loss.share(loss.weights, {"value"}).backward()
    assert data.critic.values.grad.any()
    assert data.responses.token_logps.grad is None


def test_every_token_weighs_the_same():
    mask = tensor([[YES, NO, NO], [YES, YES, YES]])
    logps, zeros = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3)
    data = rollouts(logps, zeros, zeros, zeros, torch.zeros(2), mask)
    data = data.replace(credit=Credit(torch.where(mask, 1.0, 0.0), zeros))
    value(PPO().loss(data)).backward()
    assert_close(logps.grad, torch.where(mask, -0.25, 0.0))
    assert len(PPO().loss(data).metrics["ratio"]) == 4
