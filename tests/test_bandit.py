"""The optimum that each algorithm promises, reached by descent on the loss itself.

A sign error, a missing detach, the wrong estimate of the KL or a sum for a mean lands elsewhere.
"""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

from algos import (
    BCO,
    CISPO,
    CPO,
    DAPO,
    DPO,
    EXO,
    FDPOJS,
    GMPO,
    GRPO,
    GSPO,
    IPO,
    IRPO,
    KTO,
    NCA,
    ORPO,
    PLDPO,
    PPO,
    RDPO,
    REINFORCE,
    REINFORCEPP,
    RLOO,
    RPO,
    RTO,
    SFT,
    TDPO1,
    TDPO2,
    WPO,
    AlphaPO,
    BetaDPO,
    BradleyTerry,
    ChiPO,
    CPOSimPO,
    CPOSum,
    DPONorm,
    DrGRPO,
    FDPOAlpha,
    FDPOForwardKL,
    InfoNCA,
    IPOMean,
    ORPOTokenMean,
    PairwiseK,
    PlackettLuce,
    Pointwise,
    REINFORCEPPBaseline,
    ReMax,
    ReMaxAuthorsCode,
    RobustDPO,
    SFTSum,
    SimPO,
)
from algos.core import Critic, Demonstrations, Pairs, Rankings, Responses, Rollouts
from algos.ops import k1, k2, k3
from tests.arms import (
    ARMS,
    LOSE,
    ODDS,
    ORDER_ODDS,
    ORDERS,
    REF,
    REWARD,
    WIN,
    descend,
    every_label,
    every_pair,
    every_ranking,
    follow,
    minimiser,
    rollouts,
    sampled,
    spread,
    tokens,
)
from tests.samples import credited, value

BETA = 0.5
OPTIMUM = (REF + REWARD / BETA).softmax(-1)  # of E r − β KL(π ‖ π_ref)
GOLDEN = tensor([0.049061, 0.100021, 0.181257, 0.669660], dtype=torch.float64)
BEATS = torch.sigmoid(REWARD[:, None] - REWARD).mean(-1)  # an arm beats itself half the time
IPO_OPTIMUM = (REF + BEATS / 0.5).softmax(-1)
IPO_GOLDEN = tensor([0.306227, 0.282878, 0.234996, 0.175898], dtype=torch.float64)


def link_optimum(inverse: Callable[[Tensor], Tensor], low: float, high: float) -> Tensor:
    """π_ref u with φ(u) = (r − λ) / β, by bisection for the λ at which it sums to one."""
    for _ in range(200):
        lam = (low + high) / 2
        policy = REF.exp() * inverse((REWARD - lam) / BETA)
        low, high = (lam, high) if policy.sum() > 1 else (low, lam)
    return policy


def chi_inverse(x: Tensor) -> Tensor:
    """u with u + log u = x, by Newton's method on log u."""
    log_u = x.clamp(max=0)
    for _ in range(60):
        log_u = log_u - (log_u.exp() + log_u - x) / (log_u.exp() + 1)
    return log_u.exp()


FORWARD_OPTIMUM = link_optimum(lambda x: -1 / x, 2 + 1e-9, 50)  # −1/u
FORWARD_GOLDEN = tensor([0.096619, 0.095542, 0.093459, 0.714380], dtype=torch.float64)
JS_OPTIMUM = link_optimum(lambda x: 1 / (2 * (-x).exp() - 1), 2 - 0.5 * math.log(2) + 1e-9, 50)
JS_GOLDEN = tensor([0.006741, 0.014153, 0.027910, 0.951196], dtype=torch.float64)
ALPHA_OPTIMUM = link_optimum(lambda x: (1 - 0.5 * x) ** -2, 1 + 1e-9, 50)
ALPHA_GOLDEN = tensor([0.071298, 0.085919, 0.106776, 0.736007], dtype=torch.float64)
CHI_OPTIMUM = link_optimum(chi_inverse, -50, 50)


def close(got: Tensor, want: Tensor, atol: float = 1e-9) -> None:
    assert_close(got, want, atol=atol, rtol=0)


# -- from pairs


@pytest.mark.parametrize(
    ("algo", "lr", "optimum", "golden"),
    [
        (DPO(beta=BETA), 20.0, OPTIMUM, GOLDEN),
        (TDPO1(beta=BETA), 20.0, OPTIMUM, GOLDEN),  # both drifts are those of one state
        (TDPO2(beta=BETA, alpha=0.0), 20.0, OPTIMUM, GOLDEN),
        (IPO(tau=0.5), 0.3, IPO_OPTIMUM, IPO_GOLDEN),
        (IPOMean(tau=0.5), 0.3, IPO_OPTIMUM, IPO_GOLDEN),  # one token: a mean is a sum
        (DPONorm(beta=BETA), 20.0, OPTIMUM, GOLDEN),
        (FDPOForwardKL(beta=BETA), 5.0, FORWARD_OPTIMUM, FORWARD_GOLDEN),
        (FDPOJS(beta=BETA), 40.0, JS_OPTIMUM, JS_GOLDEN),
        (FDPOAlpha(beta=BETA, alpha=0.5), 10.0, ALPHA_OPTIMUM, ALPHA_GOLDEN),
        (ChiPO(beta=BETA), 2.0, CHI_OPTIMUM, CHI_OPTIMUM),
    ],
    ids=[
        *("dpo", "tdpo1", "tdpo2 at 0", "ipo", "ipo_mean", "dpo_norm"),
        *("f_dpo_forward_kl", "f_dpo_js", "f_dpo_alpha", "chi_po"),
    ],
)
def test_pairs_lead_to_the_promised_optimum(algo, lr, optimum, golden):
    """π_ref exp(r / β) for DPO; π_ref exp(P(y ≻ μ) / τ) for IPO, with uniform μ; for another
    divergence, f′(π / π_ref) = (r − λ) / β. χPO has no published number.
    """
    policy = minimiser(algo, lr=lr)
    close(policy, optimum)
    close(policy, golden, atol=1e-6)


def test_tdpo2_is_held_back_by_the_drift_it_does_not_give_back():
    """The chosen drift is no more than a yardstick, so its pull does not cancel, even in one state:
    Σ w (e_w − e_l) = α Σ w (π_θ − π_ref), w = P σ(−z), and ∇KL(π_ref ‖ π_θ) = π_θ − π_ref.
    """
    alpha = 0.5
    policy = minimiser(TDPO2(beta=BETA, alpha=alpha))
    h = policy.log() - REF
    w = ODDS * torch.sigmoid(-BETA * (h[WIN] - h[LOSE]))
    pull = torch.zeros(ARMS, dtype=torch.float64).index_add(0, WIN, w).index_add(0, LOSE, -w)
    close(pull, alpha * w.sum() * (policy - REF.exp()))

    def drift(p):
        return (REF.exp() * (REF - p.log())).sum()

    assert 0.01 < drift(policy) < 0.5 * drift(OPTIMUM)


def test_wrong_labels_move_dpo():
    """A tenth of the labels turned round."""
    policy = minimiser(DPO(beta=BETA), odds=0.8 * ODDS + 0.1)
    close((policy - OPTIMUM).abs().max(), tensor(0.167, dtype=torch.float64), atol=5e-4)


def test_robust_dpo_sees_through_them():
    policy = minimiser(RobustDPO(beta=BETA, epsilon=0.1), odds=0.8 * ODDS + 0.1)
    close(policy, OPTIMUM)
    close(policy, GOLDEN, atol=1e-6)


def test_wpo_leads_where_dpo_does():
    """What a pair weighs, it weighs turned round, too; only the way is longer."""

    def objective(logits):
        pairs = every_pair((REF + logits).log_softmax(-1))
        return (ODDS * WPO(beta=BETA).loss(pairs).parts["policy"].terms).sum() / len(WIN)

    close((REF + descend(objective, 30.0, steps=300)).softmax(-1), OPTIMUM, atol=1e-7)


def test_chi_po_raises_no_probability_as_far_as_dpo():
    assert (CHI_OPTIMUM - REF.exp()).sum().abs() < 1e-9
    assert (CHI_OPTIMUM / REF.exp()).max() < 0.5 * (OPTIMUM / REF.exp()).max()
    assert (CHI_OPTIMUM / REF.exp()).diff().gt(0).all()


@pytest.mark.parametrize("alpha", [0.3, -0.3])
def test_length_in_r_dpo_is_a_price(alpha):
    """π ∝ π_ref exp([r − α |y|] / β), with arms of one to four tokens."""
    lengths = torch.arange(ARMS) + 1

    def objective(logits):
        logp = (REF + logits).log_softmax(-1)
        w, l = (spread(logp[i], lengths[i].tolist(), REF[i]) for i in (WIN, LOSE))
        terms = RDPO(beta=BETA, alpha=alpha).loss(Pairs(chosen=w, rejected=l)).parts["policy"].terms
        return (ODDS * terms).sum() / len(WIN)

    policy = (REF + descend(objective, 20.0, steps=120)).softmax(-1)
    close(policy, (REF + (REWARD - alpha * lengths.double()) / BETA).softmax(-1))


def test_dpo_norm_shares_a_reward_among_tokens():
    """β h / |y| = r + const, with arms of one to four tokens."""
    lengths = torch.arange(ARMS) + 1

    def objective(logits):
        logp = (REF + logits).log_softmax(-1)
        w, l = (spread(logp[i], lengths[i].tolist(), REF[i]) for i in (WIN, LOSE))
        terms = DPONorm(beta=BETA).loss(Pairs(chosen=w, rejected=l)).parts["policy"].terms
        return (ODDS * terms).sum() / len(WIN)

    h = (REF + descend(objective, 20.0, steps=400)).log_softmax(-1) - REF
    reward = BETA * h / lengths
    close(reward - reward[0], REWARD - REWARD[0], atol=1e-6)


@pytest.mark.parametrize(("algo", "price"), [(IRPO(beta=BETA, alpha=0.3), 0.3),
                                             (RPO(beta=BETA, eta=0.6), 0.3)])  # fmt: skip
def test_likelihood_of_the_chosen_pulls_towards_who_wins(algo, price):
    """β Σ w (e_w − e_l) = c Σ P (π − e_w), w = P σ(−z), arm by arm."""

    def objective(logits):
        loss = algo.loss(every_pair((REF + logits).log_softmax(-1)))
        both = loss.parts["policy"].terms + price * loss.parts["nll"].terms
        assert loss.parts["nll"].coef == price
        return (ODDS * both).sum() / len(WIN)

    policy = (REF + descend(objective, 3.0, steps=400)).softmax(-1)
    h = policy.log() - REF
    w = ODDS * torch.sigmoid(-BETA * (h[WIN] - h[LOSE]))
    arms = torch.zeros(ARMS, dtype=torch.float64)
    pull = BETA * arms.index_add(0, WIN, w).index_add(0, LOSE, -w)
    close(pull, price * (ODDS.sum() * policy - arms.index_add(0, WIN, ODDS)), atol=1e-7)


def test_exo_draws_odds_to_those_of_its_labels():
    """Two arms of which the first always wins: h_w − h_l = logit(1 − ε) / β."""
    algo = EXO(beta=BETA, epsilon=0.1)

    def objective(x):
        logp = (REF + x).log_softmax(-1)
        return value(
            algo.loss(Pairs(chosen=tokens(logp[:1], REF[:1]), rejected=tokens(logp[1:2], REF[1:2])))
        )

    x = descend(objective, lr=3.0, steps=400)
    assert (x[0] - x[1]).item() == pytest.approx(math.log(9) / BETA)


def test_beta_dpo_leads_where_dpo_does():
    """All pairs kept, every batch the whole: β moves, and the optimum of its last value is DPO's."""
    algo = BetaDPO(beta=BETA, alpha=0.1, keep=1.0)
    state, generator = algo.start(), torch.Generator()
    x = torch.zeros(ARMS, dtype=torch.float64)
    for _ in range(250):
        leaf = x.clone().requires_grad_()
        pairs = every_pair((REF + leaf).log_softmax(-1))
        credit, state = algo.credit(pairs, state, generator)
        terms = algo.loss(pairs.replace(credit=credit)).parts["policy"].terms
        (gradient,) = torch.autograd.grad((ODDS * terms).sum() / len(WIN), leaf)
        x = x - 40.0 * gradient
    close(credit.beta, tensor(BETA, dtype=torch.float64))  # all margins and their mirrors: mean 0
    close((REF + x).softmax(-1), OPTIMUM, atol=1e-6)


def test_on_sure_wins_ipo_stops_and_dpo_does_not():
    def margin(algo, steps: int, lr: float) -> float:
        def objective(x):
            logp = (REF + x).log_softmax(-1)
            pair = Pairs(chosen=tokens(logp[:1], REF[:1]), rejected=tokens(logp[1:2], REF[1:2]))
            return value(algo.loss(pair))

        x = descend(objective, lr, steps)
        return (x[0] - x[1]).item()

    assert margin(IPO(tau=0.5), 200, 0.05) == pytest.approx(1.0)
    assert 2 < margin(DPO(beta=BETA), 50, 1.0) < margin(DPO(beta=BETA), 100, 1.0) - 0.5


# -- from pairs, without reference


def normalised(probability, low: float = -50.0, high: float = 50.0) -> Tensor:
    """The policy among probability(r + c), which rises with c, that sums to one."""
    for _ in range(200):
        c = (low + high) / 2
        low, high = (c, high) if probability(REWARD + c).sum() < 1 else (low, c)
    return probability(REWARD + low)


@pytest.mark.parametrize(
    ("algo", "lr", "optimum"),
    [
        # rewards differ as utilities do, whatever the reward is of a probability
        (SimPO(beta=BETA, gamma=0.0), 20.0, (REWARD / BETA).softmax(-1)),
        (CPO(beta=BETA), 20.0, (REWARD / BETA).softmax(-1)),
        (CPOSum(beta=BETA), 20.0, (REWARD / BETA).softmax(-1)),
        (CPOSimPO(beta=BETA, gamma=0.0), 20.0, (REWARD / BETA).softmax(-1)),
        (ORPO(), 4.0, normalised(torch.sigmoid)),  # log odds: p = σ(r + c)
        (ORPOTokenMean(), 4.0, normalised(torch.sigmoid)),
        # β (1 − p^−α)/α = r + c, of which c is below β/α − max r: p rises with c up to there
        (AlphaPO(beta=1.0, gamma=0.0, alpha=0.25), 2.0,
         normalised(lambda x: (1 - x / 4) ** -4.0, high=1.99)),
    ],
    ids=str,
)  # fmt: skip
def test_preferences_alone_lead_to_rewards_that_differ_as_utilities(algo, lr, optimum):
    """The likelihood term left out, which is another force."""
    close(minimiser(algo, lr=lr), optimum, atol=1e-8)


# -- from labels


def test_bco_leads_to_the_promised_optimum():
    """An arm is called desirable with probability σ(r − mean r): then r̂ − δ = r − mean r."""
    algo, odds = BCO(beta=BETA), torch.sigmoid(REWARD - REWARD.mean())

    def objective(logits):
        labels = credited(algo, every_label((REF + logits).log_softmax(-1)))
        return (torch.cat([odds, 1 - odds]) * algo.loss(labels).parts["policy"].terms).sum() / ARMS

    close((REF + descend(objective, lr=8.0)).softmax(-1), OPTIMUM)


def test_kto_takes_the_side_of_the_majority():
    """What is desirable more often than not is all that remains; DPO would keep the odds."""
    algo, odds = KTO(beta=BETA), tensor([0.2, 0.4, 0.45, 0.6], dtype=torch.float64)

    def objective(logits):
        logp = (REF + logits).log_softmax(-1)
        labels = every_label(logp)
        labels = credited(algo, labels.replace(mismatched=labels.responses))
        return (torch.cat([odds, 1 - odds]) * algo.loss(labels).parts["policy"].terms).sum() / ARMS

    few, many = ((REF + descend(objective, 8.0, steps)).softmax(-1) for steps in (50, 400))
    assert (many[:3] < few[:3]).all()
    assert few[3] < many[3]
    assert many[3] > 0.95


# -- from rankings


def of_every_ranking(algo, **given):
    """The loss of rankings given as often as Plackett and Luce say."""

    def objective(logp: Tensor) -> Tensor:
        part = algo.loss(every_ranking(logp, **given)).parts["policy"]
        return (ORDER_ODDS * (part.terms * part.weights).view(len(ORDERS), -1).sum(-1)).sum()

    return objective


def test_pl_dpo_leads_to_the_promised_optimum():
    objective = of_every_ranking(PLDPO(beta=BETA))
    policy = (REF + descend(lambda x: objective((REF + x).log_softmax(-1)), lr=4.0)).softmax(-1)
    close(policy, OPTIMUM)
    close(policy, GOLDEN, atol=1e-6)


@pytest.mark.parametrize("algo", [PlackettLuce(), PairwiseK()], ids=str)
def test_rankings_recover_planted_utilities_up_to_a_constant(algo):
    score = descend(lambda x: of_every_ranking(algo, score=x)(REF), lr=2.0, start=3.0)
    close(score, REWARD - REWARD.mean() + 3)


def four_answers(logp: Tensor, reward: Tensor) -> Rankings:
    return Rankings(
        responses=tokens(logp, REF, reward=reward), prompt=torch.zeros(ARMS, dtype=torch.long)
    )


@pytest.mark.parametrize(("beta", "alpha"), [(0.5, 1.0), (1.0, 0.5), (0.25, 2.0)])
def test_infonca_leads_to_the_promised_optimum(beta, alpha):
    """r̂ = r/α + c, so that only α β matters."""
    algo = InfoNCA(beta=beta, alpha=alpha)

    def objective(x):
        return value(algo.loss(four_answers((REF + x).log_softmax(-1), REWARD)))

    close((REF + descend(objective, lr=2.0 / beta**2, steps=200)).softmax(-1), OPTIMUM)


def test_nca_fits_rewards_absolutely():
    """r̂ = log K p, where log-probabilities are free; for one sure answer of two, log 2 and −∞."""
    algo = NCA(beta=BETA, alpha=0.7)
    x = descend(lambda x: value(algo.loss(four_answers(REF + x, REWARD))), lr=8.0, steps=300)
    close(BETA * x, math.log(ARMS) + (REWARD / 0.7).log_softmax(-1))

    sure = NCA(beta=BETA, alpha=1e-3)
    x = descend(lambda x: value(sure.loss(four_answers(REF + x, REWARD)[2:])), 8.0, steps=300)
    assert BETA * x[3] == pytest.approx(math.log(2))
    assert BETA * x[2] < -3


# -- from demonstrations


@pytest.mark.parametrize("algo", [SFT(), SFTSum()], ids=str)
def test_sft_leads_to_the_distribution_of_the_data(algo):
    """Of tokens: three one-token answers and one answer of two tokens are five."""
    first, second = tensor([0, 0, 1, 2]), tensor([3, 3, 3, 3])
    mask = tensor([[True, False], [True, False], [True, False], [True, True]])

    def objective(logits):
        logp = logits.log_softmax(-1)
        logps = torch.stack([logp[first], logp[second]], -1)
        return value(algo.loss(Demonstrations(responses=Responses(token_logps=logps, mask=mask))))

    policy = descend(objective, lr=1.0).softmax(-1)
    close(policy, tensor([0.4, 0.2, 0.2, 0.2], dtype=torch.float64))


# -- a reward model


def rewards(algo: BradleyTerry, start: float = 0.0) -> Tensor:
    blank = every_pair(REF)

    def objective(score):
        pairs = blank.replace(
            chosen=blank.chosen.replace(score=score[WIN]),
            rejected=blank.rejected.replace(score=score[LOSE]),
            p_chosen=ODDS,
            margin=torch.zeros_like(ODDS),
        )
        return value(algo.loss(pairs))

    return descend(objective, lr=4.0, start=start)


def test_bradley_terry_recovers_planted_utilities_up_to_a_constant():
    score = rewards(BradleyTerry(), start=3.0)
    close(score, REWARD - REWARD.mean() + 3)  # nothing pulls on the constant
    close(torch.sigmoid(score[WIN] - score[LOSE]), ODDS)  # calibrated


def test_smoothed_labels_calibrate_to_smoothed_odds():
    """Arm by arm: E [σ(Δ) − (1 − ε) p − ε (1 − p)] = 0, so that rewards are drawn together."""
    score = rewards(BradleyTerry(label_smoothing=0.1))
    pull = torch.sigmoid(score[WIN] - score[LOSE]) - (0.8 * ODDS + 0.1)
    close(torch.zeros(ARMS, dtype=torch.float64).index_add(0, WIN, pull), 0 * score)
    assert (score.diff() > 0).all()
    assert score[-1] - score[0] < 0.8 * (REWARD[-1] - REWARD[0])


def test_centring_picks_the_constant():
    score = rewards(BradleyTerry(centring=0.01), start=3.0)
    assert abs(score.mean()) < 1e-3
    assert_close(score, REWARD - REWARD.mean(), atol=0.1, rtol=0)


def test_pointwise_is_calibrated():
    odds = tensor([0.2, 0.4, 0.5, 0.9], dtype=torch.float64)

    def objective(score):
        terms = Pointwise().loss(every_label(REF, score=score)).parts["policy"].terms
        return (torch.cat([odds, 1 - odds]) * terms).sum() / ARMS

    close(torch.sigmoid(descend(objective, lr=8.0, steps=200)), odds)


# -- from rollouts


def arms_at(logits: Tensor, rows: Tensor, **given) -> Rollouts:
    """These arms, sampled just now as answers to one prompt."""
    logp = logits.log_softmax(-1)
    return rollouts(logp[rows, None], REWARD[rows], ref=REF[rows, None], **given)


def critic_at(algo: PPO, logits: Tensor, rows: Tensor) -> Critic:
    """One that knows E[r − β k1]."""
    logp = logits.detach().log_softmax(-1)
    worth = (logp.exp() * (REWARD - algo.kl_coef * (logp - REF))).sum().expand(len(rows), 1)
    return Critic(values=worth, old_values=worth)


def arms_sampled(logits: Tensor, count: int) -> Tensor:
    return sampled(logits.detach().softmax(-1), count)


def test_ppo_leads_to_the_promised_optimum():
    """k1 in the reward: π_ref exp(R / β). Whitening changes the way, not the end."""
    algo = PPO(kl_coef=BETA)

    def rollouts_at(logits):
        rows = arms_sampled(logits, 200)
        return arms_at(logits, rows, critic=critic_at(algo, logits, rows))

    policy = follow(algo, REF, rollouts_at).softmax(-1)
    close(policy, OPTIMUM, atol=1e-3)
    close(policy, GOLDEN, atol=1e-3)


TEACHER = tensor([0.4, 0.1, 0.3, 0.2], dtype=torch.float64).log()
RTO_GOLDEN = tensor([0.416851, 0.180502, 0.255268, 0.147379], dtype=torch.float64)


@pytest.mark.parametrize(
    ("beta1", "golden"), [(0.05, RTO_GOLDEN), (0.1, TEACHER.exp())], ids=["half", "whole"]
)
def test_rto_without_a_reward_of_its_own_leads_to_its_teacher(beta1, golden):
    """β₃ = 0: π ∝ π_ref (π_dpo / π_ref)^(β₁ / β₂), which at β₁ = β₂ is the teacher."""
    algo, reward = RTO(beta1=beta1, beta2=0.1, beta3=0.0), beta1 * (TEACHER - REF)

    def rollouts_at(logits):
        logp, rows = logits.detach().log_softmax(-1), arms_sampled(logits, 400)
        worth = (logp.exp() * (reward - algo.beta2 * (logp - REF))).sum().expand(len(rows), 1)
        critic = Critic(values=worth, old_values=worth)
        told = (TEACHER - REF)[rows, None]
        return arms_at(logits, rows, critic=critic, token_rewards=told)

    policy = follow(algo, REF, rollouts_at).softmax(-1)
    close(policy, (REF + reward / algo.beta2).softmax(-1), atol=1e-3)
    close(policy, golden, atol=1e-3)


STEADY = {"steps": 120, "lr": 10.0, "decay": 1.0}
CAREFUL = {"steps": 100, "lr": 3.0, "decay": 1.0}
SHORTER = {"steps": 160, "lr": 3.0, "decay": 0.95}


@pytest.mark.parametrize(
    ("algo", "count", "way"),
    [
        (REINFORCE(kl_coef=BETA), 4000, STEADY),
        (RLOO(kl_coef=BETA), 200, STEADY),
        (REINFORCEPP(kl_coef=BETA), 200, SHORTER),
        (ReMax(kl_coef=BETA), 4000, STEADY),
    ],
    ids=str,
)
def test_a_price_in_the_reward_leads_to_the_promised_optimum(algo, count, way):
    """k1 in the reward: π_ref exp(R / β), whatever is the baseline."""

    def rollouts_at(logits):
        rows = arms_sampled(logits, count)
        greedy = REWARD[logits.argmax()].expand(len(rows))
        return arms_at(logits, rows, baselines=greedy)

    policy = follow(algo, REF, rollouts_at, **way).softmax(-1)
    close(policy, OPTIMUM, atol=1e-3)
    close(policy, GOLDEN, atol=1e-3)


def test_remax_as_its_authors_run_it_discounts_the_reward():
    """π_ref exp(γ R / β) where a response is one token; clipped at ½, all gains but one are −½."""
    for clip, worth in ((5.0, REWARD), (0.5, REWARD.clamp(min=1.5))):
        algo = ReMaxAuthorsCode(kl_coef=BETA, gamma=0.8, reward_clip=clip)

        def rollouts_at(logits):
            rows = arms_sampled(logits, 4000)
            return arms_at(logits, rows, baselines=REWARD.max().expand(len(rows)))

        policy = follow(algo, REF, rollouts_at, **STEADY).softmax(-1)
        close(policy, (REF + 0.8 * worth / BETA).softmax(-1), atol=1e-3)


def at_one_prompt(logits: Tensor) -> Rollouts:
    return arms_at(logits, arms_sampled(logits, 300))


def scaled(policy: Tensor) -> Tensor:
    """Rewards in units of their deviation under a policy."""
    mean = (policy * REWARD).sum()
    return REWARD / (policy * (REWARD - mean) ** 2).sum().sqrt()


def test_grpo_leads_to_the_forward_optimum_of_scaled_rewards():
    """k3 in the loss pulls along KL(π_ref ‖ π): π = π_ref β / (λ − r / std)."""
    policy = follow(GRPO(kl_coef=BETA), REF, at_one_prompt, 60, lr=2.0, decay=1.0).softmax(-1)
    golden = tensor([0.058389, 0.058047, 0.057375, 0.826189], dtype=torch.float64)
    close(policy, golden, atol=3e-3)


@pytest.mark.parametrize(
    "algo", [GRPO(kl_coef=1.0, kl_correction=1.0), REINFORCEPPBaseline(kl_coef=1.0)], ids=str
)
def test_corrected_k3_and_k2_lead_to_the_reverse_optimum_of_scaled_rewards(algo):
    """π_ref exp(r / [β std]). At half the price the deviation falls faster than the price holds,
    and nothing but the best remains.
    """
    policy = follow(algo, REF, at_one_prompt, 60, lr=2.0, decay=1.0).softmax(-1)
    close(policy, (REF + scaled(policy)).softmax(-1), atol=3e-3)
    assert 0.4 < policy[3] < 0.5
    cheap = dataclasses.replace(algo, kl_coef=0.5)
    assert follow(cheap, REF, at_one_prompt, 60, lr=2.0, decay=1.0).softmax(-1)[3] > 0.99


@pytest.mark.parametrize(
    ("estimate", "optimum"),
    [
        (lambda ratio, logratio: k2(logratio), GOLDEN),
        (lambda ratio, logratio: k3(logratio), FORWARD_GOLDEN),
        (lambda ratio, logratio: ratio * k3(logratio), GOLDEN),
        (lambda ratio, logratio: k1(logratio), None),
    ],
    ids=["k2", "k3", "corrected k3", "k1"],
)
def test_an_estimate_in_the_loss_pulls_its_own_way(estimate, optimum):
    """Plain policy gradient and β times the estimate, in expectation; k1 pulls nowhere."""

    def objective(x):
        logp = (REF + x).log_softmax(-1)
        old = logp.detach()
        ratio = (logp - old).exp()
        price = estimate(ratio[:, None], (logp - REF)[:, None])
        return (old.exp() * (BETA * price.view(-1) - ratio * REWARD)).sum()

    policy = (REF + descend(objective, lr=2.0, steps=400)).softmax(-1)
    if optimum is None:
        assert policy[3] > 0.999
    else:
        close(policy, optimum, atol=1e-6)


@pytest.mark.parametrize("algo", [DrGRPO(max_length=1.0), DAPO(), GSPO(), CISPO(), GMPO()], ids=str)
def test_without_a_price_only_the_best_remains(algo):
    few, many = (
        follow(algo, REF, at_one_prompt, steps=n, lr=1.0, decay=1.0).softmax(-1) for n in (10, 40)
    )
    assert few[3] < many[3]
    assert many[3] > 0.95


@pytest.mark.parametrize("logits", [torch.zeros(ARMS), tensor([1.0, -2.0, 0.5, 3.0])])
def test_what_a_policy_lacks_is_its_distance_from_the_optimum(logits):
    """J* − J(π) = β KL(π ‖ π*), where J is the expected return that PPO credits; J* = β log Z."""
    algo, every = PPO(kl_coef=BETA), torch.arange(ARMS)
    policy = logits.double().softmax(-1)
    critic = critic_at(algo, policy.log(), every)
    returns = credited(algo, arms_at(policy.log(), every, critic=critic))
    achieved = (policy * returns.credit.returns[:, 0]).sum()
    best = BETA * (REF + REWARD / BETA).logsumexp(-1)
    assert best.item() == pytest.approx(1.0491998, abs=1e-6)
    distance = BETA * (policy * (policy.log() - OPTIMUM.log())).sum()
    close(best - achieved, distance)
    if not logits.any():
        assert distance.item() == pytest.approx(0.2350884, abs=1e-6)


# -- from rollouts of one or two tokens: stop at once, or say a or b and then x or y

ANSWERS = tensor([[0, -1], [1, 0], [1, 1], [2, 0], [2, 1]])  # (first choice, second choice)
TREE_REF = (tensor([0.5, 0.3, 0.2]), tensor([[0.5, 0.5], [0.7, 0.3], [0.4, 0.6]]))
TREE_REWARD = tensor([0.3, 0.0, 1.0, 0.6, -0.4], dtype=torch.float64)
TREE_MASK = tensor([[True, False], *[[True, True]] * 4])


def tree_logps(first: Tensor, second: Tensor) -> Tensor:
    """The two tokens of each answer; the second of the first answer is padding."""
    a, b = ANSWERS[:, 0], ANSWERS[:, 1].clamp(min=0)
    return torch.stack([first.log_softmax(-1)[a], second.log_softmax(-1)[a, b]], -1)


def tree_values(algo: PPO, logps: Tensor, ref: Tensor) -> Tensor:
    """V(x) and V(x, y_1): the expected rest of R − β Σ k1."""
    rest = TREE_REWARD[:, None] - algo.kl_coef * (logps - ref)[:, 1:]
    later = torch.zeros(3, dtype=logps.dtype).index_add(
        0, ANSWERS[1:, 0], (logps[1:, 1:].exp() * rest[1:])[:, 0]
    )[ANSWERS[:, 0]]
    firsts = tensor([0, 1, 3])  # one answer of each first choice
    gain = torch.where(TREE_MASK[:, 1], later, TREE_REWARD) - algo.kl_coef * (logps - ref)[:, 0]
    now = (logps[firsts, 0].exp() * gain[firsts]).sum()
    return torch.stack([now.expand(5), later], -1)


START = torch.cat([p.double().log().flatten() for p in TREE_REF])
TREE_REF_LOGPS = tree_logps(START[:3], START[3:].view(3, 2))


def tree_at(logits: Tensor, count: int, critic: Callable[[Tensor], Tensor] | None = None):
    """The answers, sampled just now, with what a critic says of each token."""
    logps = tree_logps(logits[:3], logits[3:].view(3, 2))
    old = logps.detach()
    rows = sampled((old * TREE_MASK).sum(-1).exp(), count)
    given = {}
    if critic is not None:
        values = critic(old)[rows]
        given["critic"] = Critic(values=values, old_values=values)
    return rollouts(
        logps[rows],
        TREE_REWARD[rows],
        ref=TREE_REF_LOGPS[rows],
        mask=TREE_MASK[rows],
        baselines=TREE_REWARD.max().expand(len(rows)),
        **given,
    )


def weighs_whole_answers(end: Tensor, atol: float) -> None:
    """π(y) ∝ π_ref(y) exp(R(y) / β)"""
    optimum = ((TREE_REF_LOGPS * TREE_MASK).sum(-1) + TREE_REWARD / BETA).softmax(-1)
    policy = (tree_logps(end[:3], end[3:].view(3, 2)) * TREE_MASK).sum(-1).exp()
    close(policy, optimum, atol=atol)
    assert math.isclose(policy.sum().item(), 1.0)


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_ppo_over_several_tokens_weighs_whole_answers(lam):
    """Given true values, every λ leads there."""
    algo = PPO(kl_coef=BETA, lam=lam)

    def critic(old):
        return tree_values(algo, old, TREE_REF_LOGPS)

    end = follow(algo, START, lambda logits: tree_at(logits, 200, critic))
    weighs_whole_answers(end, atol=5e-3)


@pytest.mark.parametrize(
    ("algo", "count", "way"),
    [
        (REINFORCE(kl_coef=BETA), 4000, CAREFUL),
        (RLOO(kl_coef=BETA), 200, CAREFUL),
        (REINFORCEPP(kl_coef=BETA), 4000, SHORTER),
        (ReMax(kl_coef=BETA), 4000, CAREFUL),
    ],
    ids=str,
)
def test_without_critic_several_tokens_weigh_whole_answers(algo, count, way):
    """Whether a token pays for the response's k1 or for that of the tokens from it on."""
    end = follow(algo, START, lambda logits: tree_at(logits, count), **way)
    weighs_whole_answers(end, atol=3e-3)
