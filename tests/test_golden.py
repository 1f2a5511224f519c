"""Loss and gradients against numbers from an independent implementation, in double precision."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

import algos.bco
import algos.bco_pair
import algos.kto
from algos import (
    AOT,
    BCO,
    CDPO,
    CPO,
    DPO,
    DPOP,
    EXO,
    FDPOJS,
    IPO,
    IRPO,
    KTO,
    LDDPO,
    MPO,
    NCA,
    ORPO,
    PLDPO,
    PPO,
    RDPO,
    RPO,
    RSO,
    SPPO,
    TDPO1,
    TDPO2,
    TISDPO,
    WPO,
    AlphaPO,
    AOTUnpaired,
    APODown,
    APOZero,
    BCOPair,
    BetaDPO,
    BradleyTerry,
    CalDPO,
    ChiPO,
    CPOSimPO,
    CPOSum,
    DiscoPOP,
    DPONorm,
    FDPOAlpha,
    FDPOForwardKL,
    InfoNCA,
    IPOMean,
    ORPOTokenMean,
    PairwiseK,
    PlackettLuce,
    Pointwise,
    RobustDPO,
    SimPO,
    SLiC,
)
from algos.core import Critic, Labels, Pairs, Rankings, Responses, Rollouts
from algos.ops import bradley_terry, clipped_surrogate, clipped_value, gae, penalized_mean
from algos.ppo import Credit
from tests.samples import credited, value

T = 25


def double(*xs: float, **how) -> torch.Tensor:
    return tensor(xs, dtype=torch.float64, **how)


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    assert_close(got, want, atol=1e-6, rtol=0)


# -- pairs: ℓ_w = −40 (reference −42, 20 tokens), ℓ_l = −55 (reference −50, 25 tokens)


def response(logp: torch.Tensor, ref: float, length: int, win_rate: float = 0.0) -> Responses:
    return Responses(
        token_logps=(logp / length).expand(1, T),
        mask=torch.arange(T)[None] < length,
        token_ref_logps=torch.full((1, T), ref / length, dtype=torch.float64),
        token_ref_kl=torch.zeros(1, T, dtype=torch.float64),
        token_collision=torch.full((1, T), -1.5, dtype=torch.float64),
        win_rate=double(win_rate),
    )


# Rows without a table of their own are from 40-digit arithmetic and numerical derivatives: RPO's
# −η β ℓ_w = 2; LD-DPO's h_l = −5 · (20 + 2.5) / 25; WPO's weight e^(−0.5 − 0.7), not differentiated;
# δ = 0.1 (2 − 5) / 2 in BCO and MPO; β′ = 0.1 (1 + 0.6 · 0.63) in β-DPO, as 0.63 is 0.9 · 0.7.
@pytest.mark.parametrize(
    ("algo", "loss", "chosen", "rejected"),
    [
        (DPO(beta=0.1), 0.403186, -0.033181, 0.033181),
        (TDPO1(beta=0.1), 0.403186, -0.033181, 0.033181),  # without drift
        (TDPO2(beta=0.1), 0.403186, -0.033181, 0.033181),
        (IPO(tau=0.1), 4.0, 4.0, -4.0),
        (IPOMean(tau=0.1), 22.09, -0.47, 0.376),
        (CDPO(beta=0.1, epsilon=0.1), 0.473186, -0.023181, 0.023181),
        (RobustDPO(beta=0.1, epsilon=0.1), 0.315686, -0.045681, 0.045681),
        (RSO(beta=0.1), 0.3, -0.1, 0.1),
        (EXO(beta=0.1, epsilon=1e-3), 1.657292, -0.137612, 0.137612),
        (
            EXO(beta=0.1, epsilon=4.5397868702434395e-05),
            2.682713,
            -0.206193,
            0.206193,
        ),  # + log(1 + e⁻¹⁰)
        (BCOPair(beta=0.1), 1.066764, -0.041338, 0.041338),
        (SPPO(eta=10.0), 4.5, -3.0, 0.0),
        (APOZero(beta=0.1), 0.827707, -0.024752, 0.0235),
        (APODown(beta=0.1), 0.881646, 0.00258, 0.022171),
        (DiscoPOP(beta=0.1, tau=0.05), 0.496585, -0.049658, 0.049658),
        (AOT(beta=0.1), 0.403186, -0.033181, 0.033181),  # of one pair
        (AOTUnpaired(beta=0.1), 0.403186, -0.033181, 0.033181),
        (FDPOForwardKL(beta=0.1), 3.633924e-7, -4.91798e-9, 5.393221e-6),
        (FDPOJS(beta=0.1), 0.478632, -0.004534, 0.037782),
        (FDPOAlpha(beta=0.1, alpha=0.5), 0.089973, -0.003165, 0.104823),
        (ChiPO(beta=0.1), 0.21297, -0.160918, 0.019311),
        (DPONorm(beta=5.0), 0.201413, -0.045606, 0.036485),
        (RDPO(beta=0.1, alpha=0.01), 0.420055, -0.034299, 0.034299),
        (LDDPO(beta=0.1, alpha=0.5), 0.420055, -0.034299, 0.030869),
        (WPO(beta=0.1), 0.121437, -0.009994, 0.009994),
        (RPO(beta=0.1, eta=0.5), 2.403186, -0.083181, 0.033181),
        (IRPO(beta=0.1, alpha=1.0), 2.403186, -0.083181, 0.033181),
        (DPOP(beta=0.1, lam=5.0), 0.403186, -0.033181, 0.033181),
        (CalDPO(beta=0.1, calibration=0.5), 4.500911, -3.000911, 0.000911),
        (BetaDPO(beta=0.1), 0.322906, -0.038027, 0.038027),
        (MPO(beta=0.1), 2.535902, -0.084813, 0.034813),
    ],
    ids=str,
)
def test_pair(algo, loss, chosen, rejected):
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-40.0, -55.0))
    pair = Pairs(chosen=response(w, -42.0, 20, win_rate=1.0), rejected=response(l, -50.0, 25))
    got = value(algo.loss(credited(algo, pair)))
    got.backward()
    close(torch.stack([got.detach(), w.grad, l.grad]), double(loss, chosen, rejected))
    assert_close(got.detach(), tensor(loss, dtype=torch.float64), atol=5e-7, rtol=1e-6)


def test_a_pair_of_tiny_loss():
    """Relative to their size: the forward KL has long had enough."""
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-40.0, -55.0))
    pair = Pairs(chosen=response(w, -42.0, 20), rejected=response(l, -50.0, 25))
    got = value(FDPOForwardKL(beta=0.1).loss(pair))
    got.backward()
    want = double(3.63392411e-7, -4.9179806e-9, 5.3932206e-6)
    assert_close(torch.stack([got.detach(), w.grad, l.grad]), want, rtol=1e-8, atol=0)


def test_bco_without_a_shift_is_what_trl_runs():
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-40.0, -55.0))
    pair = Pairs(chosen=response(w, -42.0, 20), rejected=response(l, -50.0, 25))
    pair = pair.replace(credit=algos.bco_pair.Credit(shift=tensor(0.0, dtype=torch.float64)))
    got = value(BCOPair(beta=0.1).loss(pair))
    got.backward()
    close(torch.stack([got.detach(), w.grad, l.grad]), double(1.072216, -0.045017, 0.037754))


def test_dpop_where_the_chosen_has_fallen():
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-44.0, -55.0))
    pair = Pairs(chosen=response(w, -42.0, 20), rejected=response(l, -50.0, 25))
    got = value(DPOP(beta=0.1, lam=5.0).loss(pair))
    got.backward()
    close(torch.stack([got.detach(), w.grad, l.grad]), double(1.103186, -0.400913, 0.066819))


@pytest.mark.parametrize(
    ("algo", "loss", "chosen"),
    [
        (DPO(beta=0.1), 0.693147, -0.05),  # log 2, −β/2
        (TDPO1(beta=0.1), 0.693147, -0.05),
        (TDPO2(beta=0.1), 0.693147, -0.05),
        (IPO(tau=0.1), 25.0, -10.0),  # 1/(4τ²), −1/τ
        (IPOMean(tau=0.1), 25.0, -0.5),  # −1/(τ |y_w|)
        (CDPO(beta=0.1, epsilon=0.1), 0.693147, -0.04),
        (RobustDPO(beta=0.1, epsilon=0.1), 0.693147, -0.0625),
        (RSO(beta=0.1), 1.0, -0.1),
        (EXO(beta=0.1, epsilon=1e-3), 2.761231, -0.172669),  # −½ log(4 ε (1 − ε))
        (BCOPair(beta=0.1), 1.386294, -0.05),  # 2 log 2
        (SPPO(eta=10.0), 25.0, -5.0),  # η²/4, −η/2
        (APOZero(beta=0.1), 1.0, -0.025),
        (APODown(beta=0.1), 1.0, 0.0),
        (DiscoPOP(beta=0.1, tau=0.05), 0.846574, 0.078426),  # ½ log 2 + ½, and it rises
        (AOT(beta=0.1), 0.693147, -0.05),
        (AOTUnpaired(beta=0.1), 0.693147, -0.05),
        (FDPOForwardKL(beta=0.1), 0.693147, -0.05),
        (FDPOJS(beta=0.1), 0.693147, -0.025),
        (FDPOAlpha(beta=0.1, alpha=0.5), 0.693147, -0.05),
        (ChiPO(beta=0.1), 0.693147, -0.1),
        (DPONorm(beta=5.0), 0.693147, -0.125),
        (RDPO(beta=0.1, alpha=0.01), 0.718460, -0.051250),  # log(1 + e^0.05), −β σ(0.05)
        (LDDPO(beta=0.1, alpha=0.5), 0.693147, -0.05),
        (WPO(beta=0.1), 0.230729, -0.016644),  # e^(−0.6 − 0.5) log 2
        (RPO(beta=0.1, eta=0.5), 2.793147, -0.1),
        (IRPO(beta=0.1, alpha=1.0), 2.793147, -0.1),
        (DPOP(beta=0.1, lam=5.0), 0.693147, -0.05),
        (CalDPO(beta=0.1, calibration=0.5), 25.693147, -5.5),
        (BetaDPO(beta=0.1), 0.693147, -0.05),
        (MPO(beta=0.1), 2.931777, -0.1),
    ],
    ids=str,
)
def test_pair_at_the_reference(algo, loss, chosen):
    w = tensor(-42.0, dtype=torch.float64, requires_grad=True)
    there = response(tensor(-50.0, dtype=torch.float64), -50.0, 25)
    pair = Pairs(chosen=response(w, -42.0, 20, win_rate=1.0), rejected=there)
    got = value(algo.loss(credited(algo, pair)))
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


# -- pairs without reference, and weighted tokens


@pytest.mark.parametrize(
    ("algo", "loss", "chosen", "rejected"),
    [
        (SimPO(beta=2.0, gamma=1.0), 1.037488, -0.064566, 0.051653),
        (CPO(beta=0.1, alpha=1.0), 2.201413, -0.068243, 0.018243),
        (CPOSum(beta=0.1, alpha=1.0), 40.201413, -1.018243, 0.018243),  # 40 for 2, 1 for 1/20
        (CPOSimPO(beta=2.0, gamma=1.0, alpha=1.0), 3.037488, -0.114566, 0.051653),  # SimPO, and 2
        (ORPO(lam=0.1), 2.058564, -0.052563, 0.001994),
        (ORPOTokenMean(lam=0.1), 2.058564, -0.052563, 0.001994),
        (SLiC(delta=1.0, lam=0.0), 0.0, 0.0, 0.0),  # likelier by 15 nats
        (SLiC(delta=20.0, lam=0.1), 9.0, -1.0, 1.0),  # 20 − 15 and 0.1 · 40 of the target
        # r = (1 − e^½)/¼ and (1 − e^0.55)/¼ times 2.5: a margin of 0.845317 less 0.1
        (AlphaPO(beta=2.5, gamma=0.1, alpha=0.25), 0.388376, -0.066329, 0.055783),
        (AlphaPO(beta=2.0, gamma=1.0, alpha=0.0), 1.037488, -0.064566, 0.051653),  # SimPO
        (TISDPO(beta=0.1), 0.403186, -0.033181, 0.033181),  # no contrast, every weight 1: DPO
    ],
    ids=str,
)
def test_pair_without_reference_or_with_weights(algo, loss, chosen, rejected):
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-40.0, -55.0))
    even = torch.zeros(1, T, dtype=torch.float64)
    pairs = Pairs(
        chosen=response(w, -42.0, 20).replace(token_contrast=even),
        rejected=response(l, -50.0, 25).replace(token_contrast=even),
        target=response(tensor(-40.0, dtype=torch.float64), -42.0, 20),
    )
    got = value(algo.loss(pairs))
    got.backward()
    close(torch.stack([got.detach(), w.grad, l.grad]), double(loss, chosen, rejected))


def test_odds_ratio_alone():
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-40.0, -55.0))
    pairs = Pairs(chosen=response(w, -42.0, 20), rejected=response(l, -50.0, 25))
    loss = ORPO(lam=1.0).loss(pairs)
    got = loss.share(loss.weights, {"policy"})
    got.backward()
    close(torch.stack([got.detach(), w.grad, l.grad]), double(0.585641, -0.025631, 0.019939))


def test_simpo_of_another_hand():
    # ℓ_w = −100 of 100 tokens, ℓ_l = −60 of 50, β = 2.5, γ = 1.4: 1.241
    one = tensor([[-1.0] * 100], dtype=torch.float64)
    other = tensor([[-1.2] * 50], dtype=torch.float64)
    pairs = Pairs(
        chosen=Responses(token_logps=one, mask=one < 0),
        rejected=Responses(token_logps=other, mask=other < 0),
    )
    assert value(SimPO(beta=2.5, gamma=1.4).loss(pairs)).item() == pytest.approx(1.241, abs=5e-4)


# -- labels: the same two responses, the first desirable and the second not


@pytest.mark.parametrize(
    ("algo", "credit", "loss", "good", "bad"),
    [
        (KTO(beta=0.1), algos.kto.Credit(double(0.5)[0]), 0.414217, -0.012430, 0.011600),
        # half the sum over a pair: 1.072216, −0.045017, 0.037754
        (BCO(beta=0.1), algos.bco.Credit(double(0.0)[0]), 0.536108, -0.0225085, 0.018877),
        # ½ [log(1 + e^0.3) + log(1 + e^−1)], −½ 0.1 σ(0.3), ½ 0.1 σ(−1)
        (BCO(beta=0.1), algos.bco.Credit(double(0.5)[0]), 0.583808, -0.028722, 0.013447),
    ],
    ids=str,
)
def test_labels(algo, credit, loss, good, bad):
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-40.0, -55.0))
    one, two = response(w, -42.0, 20), response(l, -50.0, 25)
    names = ("token_logps", "token_ref_logps", "mask")
    both = Responses(**{x: torch.cat([vars(one)[x], vars(two)[x]]) for x in names})
    labels = Labels(
        responses=both, desirable=tensor([True, False]), weight=double(1.0, 1.0), credit=credit
    )
    got = value(algo.loss(labels))
    got.backward()
    close(torch.stack([got.detach(), w.grad, l.grad]), double(loss, good, bad))


def test_pointwise_reward_model():
    # r = 1 desirable, −0.5 not: ½ [log(1 + e^−1) + log(1 + e^−0.5)], −½ σ(−1), ½ σ(−0.5)
    r = double(1.0, -0.5, requires_grad=True)
    blank = {"token_logps": torch.zeros(2, 1, dtype=torch.float64), "mask": torch.ones(2, 1).bool()}
    labels = Labels(responses=Responses(score=r, **blank), desirable=tensor([True, False]))
    got = value(Pointwise().loss(labels))
    got.backward()
    close(torch.cat([got.detach()[None], r.grad]), double(0.393669, -0.134471, 0.188770))


# -- rankings: the same two responses, and scores 1, 0.2, −0.5 of three


@pytest.mark.parametrize(
    ("algo", "loss", "chosen", "rejected"),
    [
        (PLDPO(beta=0.1), 0.403186, -0.033181, 0.033181),  # DPO
        (InfoNCA(beta=0.1), 0.403186, -0.033181, 0.033181),  # sure labels: DPO
        (NCA(beta=0.1), 1.234247, -0.017525, 0.018877),
    ],
    ids=str,
)
def test_ranking_of_two(algo, loss, chosen, rejected):
    w, l = (tensor(x, dtype=torch.float64, requires_grad=True) for x in (-40.0, -55.0))
    one, two = response(w, -42.0, 20), response(l, -50.0, 25)
    names = ("token_logps", "token_ref_logps", "mask")
    both = Responses(
        **{x: torch.cat([vars(one)[x], vars(two)[x]]) for x in names}, reward=double(1.0, 0.0)
    )
    got = value(algo.loss(Rankings(responses=both, prompt=tensor([3, 3]))))
    got.backward()
    close(torch.stack([got.detach(), w.grad, l.grad]), double(loss, chosen, rejected))


@pytest.mark.parametrize(("algo", "loss"), [(PlackettLuce(), 0.917481), (PairwiseK(), 0.325233)])
def test_ranking_of_three_scores(algo, loss):
    blank = {"token_logps": torch.zeros(3, 1, dtype=torch.float64), "mask": torch.ones(3, 1).bool()}
    three = Responses(score=double(0.2, -0.5, 1.0), reward=double(2.0, 1.0, 3.0), **blank)
    got = value(algo.loss(Rankings(responses=three, prompt=tensor([0, 0, 0]))))
    close(got, double(loss)[0])


def test_ensembles():
    members = double([1.0, 2.0, 0.5], [0.2, 2.2, 0.4], [0.9, -1.0, 0.6])
    close(members.mean(0), double(0.7, 1.066667, 0.5))
    close(members.amin(0), double(0.2, -1.0, 0.4))
    close(penalized_mean(members, 0.5), double(0.636667, -0.004444, 0.496667))
    # over M − 1, the variance is half as large again: 0.19, 3.213333, 0.01
    close(penalized_mean(members, 0.1, ddof=1), double(0.681, 0.745333, 0.499))
