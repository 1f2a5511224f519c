"""Transfer from imperfect rewards: who picks, who wins, what is remembered, and what it is good for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from algos import DPO
from algos.core import Pairs
from bench.feedback.answer import answers_of
from bench.models.sampling import Samples
from bench.stats.coverage import coverage, gap, optimum
from bench.tasks.example import Example
from bench.training.arms import NULL, Arms, Constant, Logarithmic
from bench.training.batches import Models
from bench.training.choice import BestAndWorst
from bench.training.loop import Following
from bench.training.online import Online
from bench.training.phases import Answers, Phases
from bench.training.transfer import BETA, Transfer, won
from tests import tiny
from tests.arms import tokens
from tests.test_loop import WORDS, Killed, run, same, sampler, untimed

# -- a world of tables: X prompts, A answers, every probability and reward known


class Numbers:
    """The tokenizer of answers that are one number."""

    def decode(self, row: Sequence[int], **how: Any) -> str:
        return str(row[0])


@dataclass(frozen=True)
class Table:
    """A sampler of policies that are logits, Float[X, A]; example i asks for row i."""

    rewards: Any = None
    seed: int = 0
    words = Numbers()

    def __call__(self, policy: Tensor, examples: Any, per_prompt: int, *noise: int) -> Answers:
        rng = np.random.default_rng([self.seed, *noise])
        p = policy.double().softmax(-1).numpy()
        said = [a for x in examples for a in rng.choice(p.shape[1], per_prompt, p=p[int(x.id)])]
        n = len(said)
        samples = Samples([[0]] * n, [[int(a)] for a in said], [[0.0]] * n, [True] * n)
        drawn = Answers(examples, samples)
        if self.rewards is None:
            return drawn
        given = self.rewards([examples[i] for i in drawn.owners], answers_of(self.words, samples))
        return replace(drawn, rewards=torch.tensor(given))


def looked_up(table: np.ndarray) -> Callable[..., list[float]]:
    return lambda examples, answers: [
        float(table[int(x.id), int(a.text)]) for x, a in zip(examples, answers, strict=True)
    ]


def asked(prompts: int, rows: int) -> list[Example]:
    return [Example(id=str(i % rows), prompt="") for i in range(prompts)]


def transfer(
    true: np.ndarray, sources: Mapping[str, np.ndarray], null_win_rate: float = 0.55, **how: Any
) -> Transfer:
    settings = {"candidates": 32, "replaced": 4, "missing_end_penalty": 0.0, "measured": 0}
    return Transfer(
        Table(looked_up(true)),
        {name: looked_up(table) for name, table in sources.items()},
        Arms(list(sources), how.pop("bonus", Logarithmic()), 200, null_win_rate),
        **settings | how,
    )


def said(answers: Answers) -> list[list[int]]:
    """The answers to each prompt."""
    each = len(answers.samples.ids) // len(answers.examples)
    return torch.tensor(answers.samples.ids).view(-1, each).tolist()


FLAT = torch.zeros(1, 100)
VALUE = np.arange(100.0)[None]


def test_a_source_picks_what_it_likes_best_among_many():
    likes_small = transfer(VALUE, {"small": -VALUE})
    (first, second) = said(likes_small(FLAT, asked(2, 1), 8, 0))
    plain = Table()
    own = said(plain(FLAT, asked(2, 1), 8, 0))
    more = said(plain(FLAT, asked(2, 1), 32, 0, 2))
    assert first == [*sorted(more[0])[:4], *own[0][4:]]
    assert second == own[1]  # NULL: the picks have not won
    assert likes_small.arms.pulls == {"small": 1, NULL: 1}
    assert likes_small.arms.wins["small"] == 0.0


def test_answers_come_with_their_true_rewards():
    helped = transfer(VALUE, {"small": -VALUE})(FLAT, asked(6, 1), 8, 0)
    assert helped.rewards.tolist() == [float(a) for row in said(helped) for a in row]
    assert helped.owners == [i for i in range(6) for _ in range(8)]


def test_the_true_reward_is_asked_of_what_is_shown_alone():
    count = []

    def true(examples, answers):
        count.append(len(answers))
        return looked_up(VALUE)(examples, answers)

    here = transfer(VALUE, {"large": VALUE})
    here = replace(here, plain=Table(true))
    here(FLAT, asked(5, 1), 8, 0)
    assert count == [8] * 5


def test_who_wins():
    best = np.array
    assert won(best([1.0, 3.0]), best([2.0, 0.0])) == 1.0
    assert won(best([1.0, 2.0]), best([2.0, 0.0])) == 0.5
    assert won(best([1.0, 1.0]), best([2.0, 0.0])) == 0.0


def test_wins_are_counted_by_source():
    """One always wins, as 32 are many, one never does, and a third has equals to pick from."""
    cliff = np.where(np.arange(100) < 90, 0.0, 1.0)[None]
    here = transfer(cliff, {"good": cliff, "bad": -cliff}, bonus=Constant())
    told = here(FLAT, asked(100, 1), 8, 0).told
    assert here.arms.wins["bad"] <= 2.0  # ½ where none of the four own is among the best ten
    assert 0.7 * here.arms.pulls["good"] < here.arms.wins["good"] <= here.arms.pulls["good"]
    shares = [told[f"arms/share/{arm}"] for arm in ("good", "bad", NULL)]
    assert shares == [here.arms.pulls[arm] / 100 for arm in ("good", "bad", NULL)]
    assert sum(shares) == pytest.approx(1)
    rate = here.arms.wins["good"] / here.arms.pulls["good"]
    assert told["arms/win_rate/good"] == pytest.approx(rate)
    assert f"arms/win_rate/{NULL}" not in told


def test_what_is_told_is_of_one_round_and_arms_are_of_all():
    here = transfer(VALUE, {"large": VALUE})
    first = here(FLAT, asked(20, 1), 8, 0).told
    before, won_before = dict(here.arms.pulls), here.arms.wins["large"]
    second = here(FLAT, asked(20, 1), 8, 1).told
    assert first["arms/share/large"] == before["large"] / 20
    tried = here.arms.pulls["large"] - before["large"]
    assert second["arms/share/large"] == tried / 20
    rate = (here.arms.wins["large"] - won_before) / tried
    assert second["arms/win_rate/large"] == pytest.approx(rate)
    assert sum(here.arms.pulls.values()) == 40


def test_coverage_and_value_gap_by_hand():
    """Two prompts; candidates stand for the policy, rewards are in their deviations."""
    table = np.random.default_rng(0).normal(size=(2, 100))
    sources = {"same": 7 * table + 3, "opposite": -table}
    here = transfer(table, sources, measured=2)
    told = here(torch.zeros(2, 100), asked(4, 2), 8, 0).told
    more = np.array(said(Table()(torch.zeros(2, 100), asked(4, 2), 32, 0, 2)))[:2]
    rewards = np.take_along_axis(table, more, 1)
    scaled = rewards / np.sqrt(rewards.var(1).mean())
    flat = np.full(32, 1 / 32)
    best, worst = (optimum(flat, sign * scaled, BETA) for sign in (1, -1))
    assert told["arms/gap/same"] == pytest.approx(0, abs=1e-9)
    assert told["arms/coverage/same"] == pytest.approx(1)
    assert told["arms/gap/opposite"] == pytest.approx(gap(worst, best, BETA).mean())
    assert told["arms/coverage/opposite"] == pytest.approx(coverage(best, worst).mean())
    assert told[f"arms/coverage/{NULL}"] == pytest.approx(coverage(best, flat).mean())
    assert told["arms/gap/same"] < told[f"arms/gap/{NULL}"] < told["arms/gap/opposite"]
    unmeasured = transfer(table, sources)
    assert "arms/gap/same" not in unmeasured(torch.zeros(2, 100), asked(4, 2), 8, 0).told


def test_measuring_changes_nothing_else():
    table = np.random.default_rng(0).normal(size=(2, 100))
    one, other = (
        transfer(table, {"same": table}, measured=n)(torch.zeros(2, 100), asked(9, 2), 8, 0)
        for n in (0, 5)
    )
    assert said(one) == said(other)


def test_a_missing_end_costs_a_win():
    """All that is worth 90 or more is cut short."""

    class Cut(Table):
        def __call__(self, policy, examples, per_prompt, *noise):
            drawn = super().__call__(policy, examples, per_prompt, *noise)
            done = [ids[0] < 90 for ids in drawn.samples.ids]
            return replace(drawn, samples=replace(drawn.samples, finished=done))

    for penalty, wins in ((0.0, 1.0), (1000.0, 0.0)):
        here = transfer(VALUE, {"large": VALUE}, missing_end_penalty=penalty)
        here = replace(here, plain=Cut(looked_up(VALUE)), candidates=500)
        here(FLAT, asked(1, 1), 8, 0)
        assert here.arms.wins["large"] == wins


# -- what it is good for: the tabular replica


X, A, PRICE = 6, 40, 0.2  # prompts, answers, of KL in J
NOISE = {"good": 0.5, "poor": 3.0}
ROUNDS, PROMPTS, STEPS = 3, 60, 20
SEEDS = range(2)


@cache
def world(seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(π_ref, r*, sources): what is true plus noise, the opposite of it, and the truth itself."""
    rng = np.random.default_rng(seed)
    reference = np.exp(rng.normal(size=(X, A)))
    true = rng.normal(size=(X, A))
    sources = {name: true + noise * rng.normal(size=(X, A)) for name, noise in NOISE.items()}
    reference /= reference.sum(-1, keepdims=True)
    return reference, true, {**sources, "opposite": -true, "exact": true}


@cache
def rounds(seed: int, *sources: str, null_win_rate: float = 0.55) -> np.ndarray:
    """J* − J(π) of the policies after every round."""
    reference, true, every = world(seed)
    here = transfer(true, {name: every[name] for name in sources}, null_win_rate)
    here = replace(here, plain=replace(here.plain, seed=seed))
    best, policy, lacking = optimum(reference, true, PRICE), torch.tensor(reference).log(), []
    for k in range(ROUNDS):
        answers = here(policy, asked(PROMPTS, X), 8, k)
        two = BestAndWorst()(answers.rewards.view(-1, 8), torch.Generator())
        policy = taught(policy, torch.tensor(said(answers)).gather(1, two))
        lacking.append(gap(policy.softmax(-1).numpy(), best, PRICE).mean())
    return np.array(lacking)


def taught(policy: Tensor, pairs: Tensor) -> Tensor:
    """By DPO against the policy that began the round: Int[PROMPTS, 2], the better answer first."""
    at = torch.arange(PROMPTS) % X
    start = policy.log_softmax(-1)
    for _ in range(STEPS):
        policy.requires_grad_()
        now = policy.log_softmax(-1)
        chosen, rejected = (tokens(now[at, a], start[at, a]) for a in pairs.T)
        loss = DPO(beta=0.5).loss(Pairs(chosen=chosen, rejected=rejected))
        (gradient,) = torch.autograd.grad(loss.share(loss.weights), policy)
        policy = (policy - 2 * X * gradient).detach()
    return policy


def regret(*sources: str, **how: float) -> np.ndarray:
    """Σ over rounds, for each of two worlds."""
    return np.array([rounds(seed, *sources, **how).sum() for seed in SEEDS])


def alone(source: str) -> np.ndarray:
    return regret(source, null_win_rate=-inf)


def test_planted_sources_are_as_good_as_they_should_be():
    reference, true, sources = world(0)
    best = optimum(reference, true, PRICE)
    lacking = [
        gap(optimum(reference, sources[name], PRICE), best, PRICE).mean()
        for name in ("exact", "good", "poor", "opposite")
    ]
    assert lacking == sorted(lacking)
    assert lacking[0] == pytest.approx(0)


def test_a_source_that_knows_the_truth_gains_in_the_first_round():
    for seed in SEEDS:
        assert rounds(seed, "exact", null_win_rate=-inf)[0] < 0.95 * rounds(seed)[0]


def test_better_sources_have_less_regret():
    """Of no source it is between those of a good one and of a misleading one."""
    order = [alone("exact"), alone("good"), regret(), alone("opposite")]
    means = [x.mean() for x in order]
    assert means == sorted(means)


def test_transfer_finds_the_good_sources_without_being_told():
    """Less regret than without transfer, though two of three sources are worse than none; more than
    the good one has alone."""
    found = regret("opposite", "poor", "good")
    assert (found < 0.9 * regret()).all()
    assert alone("good").mean() < found.mean()


# -- in training


def length(examples: Any, answers: Any) -> list[float]:
    return [float(len(a.ids)) for a in answers]


def first_letters(examples: Any, answers: Any) -> list[float]:
    return [float(sum(a.ids)) for a in answers]


def helping(sources: Mapping[str, Any], seed: int = 0, rewards: Any = first_letters) -> Transfer:
    arms = Arms(list(sources), Logarithmic(), 100)
    return Transfer(sampler(seed=seed, rewards=rewards), sources, arms, 6, 2, 1.0, 2)


def feed(draws: Any, memory: Any = None) -> Phases:
    """Four answers to each of four prompts, in two minibatches."""
    how = {"prompts": 4, "per_prompt": 4, "choose": BestAndWorst(), "micro": 4, "device": "cpu"}
    return Phases(Online(DPO(), draws, missing_end_penalty=1.0, **how), 2, 1, 0, memory)


def policies() -> Models:
    return Models(tiny.llama(0, len(WORDS)), tiny.llama(1, len(WORDS)))


FOLLOWING = Following(every=2, mix=1.0)


def trained(draws: Any, folder: Any, memory: Any = None, **how: Any) -> Any:
    return run(DPO(), feed(draws, memory), folder, policies(), following=FOLLOWING, **how)


def test_without_sources_it_is_iterative_dpo_to_the_bit(tmp_path):
    plain = trained(helping({}).plain, tmp_path / "a")
    assert same(plain, trained(helping({}), tmp_path / "b"))
    assert not same(plain, trained(helping({"length": length}), tmp_path / "c"))


def mortal(calls: int) -> Callable[..., list[float]]:
    """A reward that can be asked so many times."""
    left = iter(range(calls))

    def rewards(examples: Any, answers: Any) -> list[float]:
        if next(left, None) is None:
            raise Killed
        return first_letters(examples, answers)

    return rewards


def test_an_opponent_is_not_helped():
    draws, them = helping({"length": length}), policies()
    how = {"prompts": 4, "per_prompt": 4, "choose": BestAndWorst(), "micro": 4, "device": "cpu"}
    batch, _ = Online(DPO(), draws, against=1.0, **how)(0, them)
    assert sum(draws.arms.pulls.values()) == 4
    plain = draws.plain(them.reference, draws.examples(0, 4), 4, 0, 1).samples.rows
    ends = batch.tokens.start + batch.tokens.length
    theirs = [
        tuple(batch.tokens.ids[i, batch.tokens.start[i] : ends[i]].tolist())
        for i in batch.given["by_reference"].nonzero().squeeze(1)
    ]
    assert set(theirs) <= {tuple(ids) for _, ids in plain}


def test_a_killed_run_finds_its_arms_where_they_were(tmp_path):
    """Ten updates are five rounds of four prompts; the third is where it dies."""
    whole = helping({"length": length})
    wanted = trained(whole, tmp_path, whole.arms)
    assert sum(whole.arms.pulls.values()) == 20
    for name, remembers in (("resumed", True), ("forgetful", False)):
        (tmp_path / name).mkdir()
        before = helping({"length": length}, rewards=mortal(12))
        after = helping({"length": length})
        memories = [x.arms if remembers else None for x in (before, after)]
        with pytest.raises(Killed):
            trained(before, tmp_path / name, memories[0], checkpoint_every=0.0)
        found = trained(after, tmp_path / name, memories[1])
        assert (after.arms == whole.arms) == remembers
        if remembers:
            assert same(found, wanted)


def test_the_log_has_what_each_round_said(tmp_path):
    log = untimed(trained(helping({"length": length}), tmp_path)[1].log)
    for row in log:
        assert ("arms/share/length" in row) == (row["step"] % 2 == 1)
    assert {"arms/coverage/length", "arms/gap/null", "rollout/reward"} <= log[0].keys()
    assert_close(log[0]["arms/share/length"] + log[0]["arms/share/null"], 1.0)
