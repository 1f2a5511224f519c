"""Loss and gradients against numbers from an independent implementation, in double precision."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from algos import DPO, IPO, PPO, TDPO1, TDPO2, BradleyTerry, IPOMean
from algos.core import Critic, Pairs, Responses, Rollouts
from algos.ops import bradley_terry, clipped_surrogate, clipped_value, gae
from algos.ppo import Credit
from tests.samples import value

T = 25


def double(*xs: float, **how) -> torch.Tensor:
    return tensor(xs, dtype=torch.float64, **how)


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    assert_close(got, want, atol=1e-6, rtol=0)


# -- pairs: ℓ_w = −40 (reference −42, 20 tokens), ℓ_l = −55 (reference −50, 25 tokens)


def response(logp: torch.Tensor, ref: float, length: int) -> Responses:
    return Responses(
        token_logps=(logp / length).expand(1, T),
        mask=torch.arange(T)[None] < length,
        token_ref_logps=torch.full((1, T), ref / length, dtype=torch.float64),
        token_ref_kl=torch.zeros(1, T, dtype=torch.float64),
    )


@pytest.mark.parametrize(
    ("algo", "loss", "chosen", "rejected"),
    [
        (DPO(beta=0.1), 0.403186, -0.033181, 0.033181),
        (TDPO1(beta=0.1), 0.403186, -0.033181, 0.033181),  # without drift
        (TDPO2(beta=0.1), 0.403186, -0.033181, 0.033181),
        (IPO(tau=0.1), 4.0, 4.0, -4.0),
        (IPOMean(tau=0.1), 22.09, -0.47, 0.376),
    ],
    ids=str,
)
def test_pair(algo, loss, chosen, rejected):
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-40.0, -55.0))
    got = value(algo.loss(Pairs(chosen=response(w, -42.0, 20), rejected=response(l, -50.0, 25))))
    got.backward()
    close(torch.stack([got.detach(), w.grad, l.grad]), double(loss, chosen, rejected))


@pytest.mark.parametrize(
    ("algo", "loss", "chosen"),
    [
        (DPO(beta=0.1), 0.693147, -0.05),  # log 2, −β/2
        (TDPO1(beta=0.1), 0.693147, -0.05),
        (TDPO2(beta=0.1), 0.693147, -0.05),
        (IPO(tau=0.1), 25.0, -10.0),  # 1/(4τ²), −1/τ
        (IPOMean(tau=0.1), 25.0, -0.5),  # −1/(τ |y_w|)
    ],
    ids=str,
)
def test_pair_at_the_reference(algo, loss, chosen):
    w = tensor(-42.0, dtype=torch.float64, requires_grad=True)
    there = response(tensor(-50.0, dtype=torch.float64), -50.0, 25)
    got = value(algo.loss(Pairs(chosen=response(w, -42.0, 20), rejected=there)))
    got.backward()
    close(torch.stack([got.detach(), w.grad]), double(loss, chosen))


# -- a reward model


def scored(chosen, rejected, margin=0.0, p=1.0) -> Pairs:
    blank = {"token_logps": torch.zeros(1, 1, dtype=torch.float64), "mask": torch.ones(1, 1).bool()}
    return Pairs(
        chosen=Responses(score=chosen, **blank),
        rejected=Responses(score=rejected, **blank),
        p_chosen=double(p),
        margin=double(margin),
    )


@pytest.mark.parametrize(
    ("algo", "pair", "loss", "chosen", "rejected"),
    [
        (BradleyTerry(), (0.7, 0.7), 0.693147, -0.5, 0.5),  # log 2
        (BradleyTerry(), (1.0, -0.5), 0.201413, -0.182426, 0.182426),  # log(1 + e^−1.5), −σ(−1.5)
        (BradleyTerry(), (1.0, -0.5, 1.0), 0.474077, -0.377541, 0.377541),  # log(1 + e^−0.5)
        (BradleyTerry(), (1.0, -0.5, 0.0, 0.7), 0.651413, 0.117574, -0.117574),  # + 0.3 · 1.5
        (BradleyTerry(label_smoothing=0.1), (1.0, -0.5), 0.351413, -0.082426, 0.082426),
        (BradleyTerry(centring=0.01), (1.0, -0.5), 0.203913, -0.172426, 0.192426),  # + 0.01 · 0.5²
    ],
    ids=str,
)
def test_reward_model(algo, pair, loss, chosen, rejected):
    w, l = (double(x, requires_grad=True) for x in pair[:2])
    got = value(algo.loss(scored(w, l, *pair[2:])))
    got.backward()
    close(torch.stack([got.detach(), w.grad[0], l.grad[0]]), double(loss, chosen, rejected))


def test_three_ranked_rewards_pair_by_pair():
    r = double(1.0, 0.2, -0.5)
    pairs = [
        value(BradleyTerry().loss(scored(r[[i]], r[[j]]))) for i, j in [(0, 1), (0, 2), (1, 2)]
    ]
    close(torch.stack(pairs).mean(), tensor(0.325233, dtype=torch.float64))


def test_plackett_and_luce_rank_two_as_bradley_and_terry_do():
    w, l = double(1.0), double(0.2)
    ranked = -(w - torch.stack([w, l]).logsumexp(0))
    assert_close(bradley_terry(w - l), ranked)


# -- PPO


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "moves"),
    [
        (1.3, 1.0, 1.2, False),
        (0.7, 1.0, 0.7, True),
        (1.3, -1.0, -1.3, True),
        (0.7, -1.0, -0.8, False),
        (5.0, -1.0, -5.0, True),  # no dual clip
    ],
)
def test_clip_table(ratio, advantage, surrogate, moves):
    r, a = double(ratio, requires_grad=True), double(advantage)
    got = -clipped_surrogate(r[None], a[None], 0.2)
    (gradient,) = torch.autograd.grad(got.sum(), r)
    close(got.detach(), double(surrogate)[None])
    close(gradient, a * moves)

    zero = torch.zeros(1, 1, dtype=torch.float64)
    data = Rollouts(
        responses=Responses(token_logps=r.detach().log()[None], mask=torch.ones(1, 1).bool()),
        token_old_logps=zero,
        rewards=zero[0],
        prompt=tensor([0]),
        finished=tensor([True]),
        critic=Critic(values=zero, old_values=zero),
        credit=Credit(advantages=a[None], returns=zero),
    )
    loss = PPO(clip=0.2).loss(data)
    close(-loss.share(loss.weights, {"policy"}), tensor(surrogate, dtype=torch.float64))
    close(loss.metrics["clipfrac"], double(not moves))
    close(loss.metrics["ratio"], double(ratio))


@pytest.mark.parametrize(
    ("value", "old", "goal", "half_square", "moves"),
    [
        (1.0, 0.5, 0.2, 0.32, True),  # ½ max(0.8², (0.7 − 0.2)²)
        (1.0, 0.5, 2.0, 0.845, False),  # ½ max(1², (2 − 0.7)²): past the clip, towards the goal
        (0.0, 0.5, -1.0, 0.845, False),
        (0.6, 0.5, 2.0, 0.98, True),  # within the clip
    ],
)
def test_value_clip_table(value, old, goal, half_square, moves):
    v = double(value, requires_grad=True)
    got = clipped_value(v[None], double(old)[None], double(goal)[None], 0.2)
    (gradient,) = torch.autograd.grad(got.sum(), v)
    close(got.detach(), double(half_square)[None])
    close(gradient, double((value - goal) * moves))


@pytest.mark.parametrize(
    ("gamma", "lam", "want"),
    [
        (1.0, 0.95, [0.49065, 0.727, 0.66, 0.8]),
        (1.0, 0.0, [-0.2, 0.1, -0.1, 0.8]),
        (1.0, 1.0, [0.6, 0.8, 0.7, 0.8]),
        (0.9, 0.5, [-0.1599, 0.178, 0.24, 0.8]),
    ],
)
@pytest.mark.parametrize("gap", [0, 3])
def test_gae_steps_over_gaps(gamma, lam, want, gap):
    """Another speaker's tokens in the middle change nothing, whatever stands there."""

    def spread(x, fill):
        return double(*x[:2], *[fill] * gap, *x[2:])[None]

    nan = float("nan")
    mask = spread([True] * 4, False).bool()
    rewards, values = spread([-0.1, 0.2, 0.0, 1.0], nan), spread([0.5, 0.4, 0.3, 0.2], nan)
    got = gae(rewards, values, mask, torch.full_like(values, gamma), lam)
    close(got, spread(want, 0.0))
