"""Best-of-n by enumeration, and laws that come back from points drawn by them."""

from itertools import combinations

import numpy as np
import pytest

from bench.stats.overoptimization import (
    BEST_OF_N,
    REINFORCED,
    best_of,
    fit,
    kl_of_best_of,
)

LAWS = pytest.mark.parametrize("law", [BEST_OF_N, REINFORCED], ids=["best_of_n", "reinforced"])
D = np.linspace(0.2, 3.0, 12)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_is_the_mean_over_all_choices(n):
    chance = np.random.default_rng(0)
    liked, worth = chance.normal(size=(4, 5)), chance.normal(size=(4, 5))
    choices = list(combinations(range(5), n))
    for i, mean in enumerate(best_of(n, liked, worth)):
        best = [worth[i, max(some, key=lambda k: liked[i, k])] for some in choices]
        assert mean == pytest.approx(np.mean(best), abs=1e-12)


def test_answers_that_are_liked_alike_share():
    assert best_of(2, [[1, 1, 0]], [[6, 0, 9]]) == pytest.approx([3.0])
    assert best_of(3, [[1, 1, 1]], [[6, 0, 9]]) == pytest.approx([5.0])


def test_one_cannot_choose_more_than_there_are():
    with pytest.raises(ValueError, match="best of 4 of 3 answers: n must be from 1 to 3"):
        best_of(4, [[1, 2, 3]], [[1, 2, 3]])


def test_kl_of_best_of_by_summation():
    """Of n draws from a uniform distribution over many, the best has P = (k/m)^n − ((k − 1)/m)^n."""
    m, k = 100_000, np.arange(1, 100_001)
    for n in (1, 4, 16):
        p = (k / m) ** n - ((k - 1) / m) ** n
        p = p[p > 0]
        assert kl_of_best_of(n) == pytest.approx((p * np.log(p * m)).sum(), abs=1e-3)


@LAWS
def test_a_law_comes_back(law):
    found = fit(law, D, law.gained(D, 1.3, 0.5))
    assert (found.alpha.value, found.beta.value) == pytest.approx((1.3, 0.5))
    assert found.r2 == pytest.approx(1.0)


@LAWS
def test_nothing_is_gained_more_than_at_the_peak(law):
    peak = fit(law, D, law.gained(D, 0.7, 0.4)).peak.value
    assert law.gained(peak, 0.7, 0.4) >= law.gained(np.linspace(0.01, 10, 10_000), 0.7, 0.4).max()


@LAWS
def test_gold_that_never_falls_has_no_peak_and_one_that_only_falls_has_it_at_once(law):
    assert fit(law, D, law.gained(D, 1.0, -0.2)).peak.value == np.inf
    assert fit(BEST_OF_N, D, BEST_OF_N.gained(D, -1.0, 0.2)).peak.value == 0


@LAWS
@pytest.mark.parametrize("prompts", [None, 40])
def test_bounds_hold_the_truth_about_as_often_as_they_say(law, prompts):
    chance = np.random.default_rng(1)
    held = 0
    for i in range(200):
        noise = chance.normal(size=(len(D), prompts or 1)) * (1.0 if prompts else 0.1)
        gains = law.gained(D, 1.3, 0.5)[:, None] + noise
        found = fit(law, D, gains if prompts else gains[:, 0], resamples=400, seed=i)
        held += found.peak.low <= law.top(1.3, 0.5) <= found.peak.high
    assert 0.87 <= held / 200 <= 0.99


def test_points_that_cannot_be_fitted_are_named():
    with pytest.raises(ValueError, match="at least 3 points"):
        fit(BEST_OF_N, [1, 2], [1, 2])
    with pytest.raises(ValueError, match="every d must be above 0"):
        fit(BEST_OF_N, [0, 1, 2], [0, 1, 2])
    with pytest.raises(ValueError, match="d: row 1 is nan"):
        fit(BEST_OF_N, [1, np.nan, 2], [0, 1, 2])
