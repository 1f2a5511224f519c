"""Optimism over win rates: who is asked, how often, and what is remembered."""

from math import inf, log, sqrt

import numpy as np
import pytest

from bench.training.arms import NULL, Arms, Constant, Logarithmic

WIN_RATES = {"a": 0.45, "b": 0.55, "c": 0.7, "d": 0.5}
LOCKED_OUT = [4, 33, 102, 110, 148]  # all the seeds below 200 with which `Constant` loses the best
TRIES = 4000


def played(arms: Arms, win_rates: dict[str, float], tries: int, seed: int = 0) -> list[str]:
    """Who was asked, where each source wins as often as said."""
    luck, asked = iter(np.random.default_rng(seed).random(tries)), []
    for _ in range(tries):
        asked.append(arm := arms.choose())
        arms.record(arm, arm != NULL and next(luck) < win_rates[arm])
    return asked


def share_of_the_best(bonus, seed: int) -> float:
    """Without a null arm."""
    arms = Arms(list(WIN_RATES), bonus, TRIES, null_win_rate=-inf)
    return played(arms, WIN_RATES, TRIES, seed).count("c") / TRIES


def test_bonuses_by_hand():
    assert Constant()(4, 10**9) == Constant(0.5)(1, 7) == 0.5
    assert Logarithmic()(8, TRIES) == sqrt(log(4000) / 16)


def test_bounds_by_hand():
    arms = Arms(["a", "b"], Constant(), 100)
    for won in (True, False, False, True):
        arms.record("a", won)
    assert arms.upper_bound("a") == 2 / 4 + 1 / 2
    assert arms.upper_bound("b") == inf
    for _ in range(4):
        arms.record(NULL, 0.0)
    assert arms.upper_bound(NULL) == pytest.approx(0.55 + 1 / 2)


def test_every_source_is_asked_once_in_turn_and_of_equals_the_first():
    arms = Arms(["b", "a"], Constant(), 100)
    assert played(arms, {"a": 1.0, "b": 1.0}, 4) == ["b", "a", "b", "a"]
    arms = Arms(["b", "a"], Constant(), 100)
    assert played(arms, {"a": 0.0, "b": 0.0}, 4) == ["b", "a", NULL, NULL]


def test_without_a_null_arm_sources_are_asked_always():
    arms = Arms(["a"], Logarithmic(), 100, null_win_rate=-inf)
    assert played(arms, {"a": 0.0}, 100) == ["a"] * 100


def test_the_best_source_is_asked_most():
    """The means over 200 seeds are .953 and .936."""
    for bonus, mean in ((Constant(), 0.953), (Logarithmic(), 0.936)):
        shares = [share_of_the_best(bonus, seed) for seed in range(8) if seed not in LOCKED_OUT]
        assert np.mean(shares) == pytest.approx(mean, abs=0.03)


@pytest.mark.parametrize("seed", LOCKED_OUT[:3])
def test_a_constant_bonus_may_lose_the_best_source_for_good_and_a_growing_one_does_not(seed):
    assert share_of_the_best(Constant(), seed) < 0.5
    assert share_of_the_best(Logarithmic(), seed) > 0.85


def test_a_source_that_never_wins_is_asked_four_times():
    """At c = 1, until 1/√N < .55."""
    arms = Arms(["a"], Constant(), 10_000)
    assert played(arms, {"a": 0.0}, 10_000).count("a") == arms.pulls["a"] == 4


@pytest.mark.parametrize("bonus", [Constant(), Logarithmic()])
def test_the_policy_goes_on_alone_where_no_source_is_worth_it(bonus):
    weak = {"a": 0.3, "b": 0.2}
    asked = played(Arms(list(weak), bonus, TRIES), weak, TRIES)
    assert asked[-1000:].count(NULL) > 950
    strong = {"a": 0.3, "b": 0.8}
    asked = played(Arms(list(strong), bonus, TRIES), strong, TRIES)
    assert asked[-1000:].count("b") > 950


def test_without_sources_there_is_nothing_to_choose():
    assert set(played(Arms([], Logarithmic(), 50), {}, 50)) == {NULL}


def test_a_win_rate_is_remembered():
    """Four lost tries are not tried again, as they would be by arms that begin anew."""
    arms = Arms(["a"], Constant(), 1000)
    played(arms, {"a": 0.0}, 500)
    later = Arms(["a"], Constant(), 1000)
    later.load_state_dict(arms.state_dict())
    assert later == arms
    assert "a" not in played(later, {"a": 0.0}, 500)
    arms.record("a", True)
    assert later != arms  # they share nothing
