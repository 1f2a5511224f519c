"""Seeds and prompts both stand for others: by hand, at the ends, and in what is promised of them."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, nct, t, ttest_1samp

from bench.stats.bootstrap import (
    expanded,
    interquartile_interval,
    interquartile_mean,
    mean_interval,
    paired_difference,
)
from bench.stats.crossed import adjusted, crossed_mean, detectable, power


def test_a_mean_by_hand():
    # means of rows 1 and 3, of columns 1 and 3, no rest: M_s = M_p = 2 · 2, M_e = 0
    got = crossed_mean(np.array([[0.0, 2.0], [2.0, 4.0]]))
    assert got.value == 2
    assert got.error == pytest.approx(np.sqrt((4 + 4) / 4))
    assert got.dof == pytest.approx(1.0)  # (1/1 · 4 + 1/1 · 4) / 8
    # rows 1 and 3, columns 2 and 2, rest ±1: M_s = 4, M_p = 0, M_e = 4
    rest = crossed_mean(np.array([[0.0, 2.0], [4.0, 2.0]]))
    assert (rest.value, rest.error, rest.dof) == (2, 1, 1)


def test_what_columns_owe_to_noise_is_taken_off():
    # columns ±2, rest ±1 and 0: M_s = 0, M_p = 3 · 8 = 24, M_e = 4 / 2
    got = crossed_mean(np.array([[3.0, -3.0], [1.0, -1.0], [2.0, -2.0]]))
    assert (got.value, got.error) == (0, pytest.approx(np.sqrt((24 - 2) / 6)))


def test_two_seeds_that_happen_to_agree_are_not_sure():
    # columns ±2, rest ±1: M_s = 0, for which M_e = 4 stands, and M_p = 2 · 8 = 16 as it is
    got = crossed_mean(np.array([[3.0, -3.0], [1.0, -1.0]]))
    assert (got.value, got.error) == (0, pytest.approx(np.sqrt((4 + 16) / 4)))
    assert got.dof == pytest.approx(20 / (4 / 1 + 16 / 1))


def test_degrees_of_freedom_are_weighed():
    # 3 seeds of 2 prompts; rows 0, 3, 6; columns differ by 2: M_s = 2·18/2, M_p = 3·2/1, M_e = 0
    got = crossed_mean(np.array([[-1.0, 1.0], [2.0, 4.0], [5.0, 7.0]]))
    assert got.error == pytest.approx(np.sqrt((18 + 6) / 6))
    assert got.dof == pytest.approx(24 / (18 / 2 + 6 / 1))


def test_one_seed_is_a_t_test_over_prompts_and_one_prompt_one_over_seeds():
    values = np.random.default_rng(0).normal(0.3, 1, 20)
    for got in (crossed_mean(values[None]), crossed_mean(values[:, None])):
        theirs = ttest_1samp(values, 0)
        assert got.p_value == pytest.approx(theirs.pvalue)
        assert got.bounds() == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_what_never_differs_is_sure():
    same = crossed_mean(np.full((3, 4), 2.0))
    assert same.bounds() == (2, 2)
    assert (same.p_value, crossed_mean(np.zeros((3, 4))).p_value) == (0, 1)
    with pytest.raises(LookupError, match="no standard error"):
        crossed_mean(np.ones((1, 1)))


def test_many_means_are_as_one_by_one():
    values = np.random.default_rng(1).normal(size=(4, 3, 10))
    whole = crossed_mean(values)
    for place, one in enumerate(map(crossed_mean, values)):
        assert (one.value, one.error, one.dof) == pytest.approx(
            (whole.value[place], whole.error[place], whole.dof[place])
        )


def test_seeds_that_differ_widen_an_interval_that_prompts_alone_would_not():
    values = np.random.default_rng(2).normal(size=(3, 200)) + np.array([[-1.0], [0.0], [1.0]])
    low, high = crossed_mean(values).bounds()
    assert high - low > 2 * 4.3027 * 0.9 / np.sqrt(3)
    narrow = mean_interval(values.mean(0))
    assert narrow.high - narrow.low < 0.3


def test_power_by_hand():
    # known variance: Φ(d/σ − 1.96), and the other side is next to nothing
    assert power(2.8016, 1.0, 1e9) == pytest.approx(0.8, abs=1e-4)
    assert power(0.0, 1.0, 10) == pytest.approx(0.025)
    assert power(-2.8016, 1.0, 1e9) == power(2.8016, 1.0, 1e9)
    assert detectable(2.0, 1e9) == pytest.approx(2 * 2.8016, abs=1e-3)
    # a two-sided one-sample t test of n = 10 has power 0.803 at d = 1 σ (Cohen's tables: 0.80)
    assert power(1.0, 10**-0.5, 9) == pytest.approx(0.803, abs=1e-3)
    assert power(detectable(0.3, 2), 0.3, 2) == pytest.approx(0.8)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert interquartile_mean([0.0, 1.0, 3.0, 100.0]) == 2
    assert interquartile_mean([0.0, 1.0, 100.0]) == pytest.approx(101 / 3)
    assert interquartile_mean(np.array([[0, 0], [1, 1], [3, 5], [9, 9]]), axis=0).tolist() == [2, 3]


def test_the_interval_of_an_interquartile_mean_draws_seeds_and_prompts():
    generator = np.random.default_rng(3)
    prompts = generator.normal(size=100)
    shared = interquartile_interval(np.tile(prompts, (8, 1)))
    seeds = interquartile_interval(np.tile(prompts, (8, 1)) + np.arange(8.0)[:, None])
    # prompts alone: 2 · 1.96 σ / √100
    assert shared.high - shared.low == pytest.approx(0.392 * prompts.std(), rel=0.05)
    assert seeds.high - seeds.low > 3
    assert seeds.value == pytest.approx(prompts.mean() + 3.5)
    assert interquartile_interval(np.tile(prompts, (8, 1))) == shared


@pytest.mark.parametrize("n", [10, 20])
def test_expanded_percentiles_hold_where_plain_ones_fall_short(n):
    draws = np.random.default_rng(n).normal(size=(500, n))

    def held(level: float) -> float:
        found = [mean_interval(x, level=level, resamples=1000) for x in draws]
        return np.mean([i.low <= 0 <= i.high for i in found])

    assert held(expanded(n)) > 0.925 > 0.92 > held(0.95) - 0.01
    assert held(expanded(n)) > held(0.95) + 0.01


def test_expansion_fades():
    # n = 5: √(5/4) · 2.7764 = 3.1042, 2 Φ − 1 = 0.99809
    assert expanded(5) == pytest.approx(0.99809, abs=1e-5)
    assert expanded(10**6) == pytest.approx(0.95, abs=1e-6)
    assert expanded(1) == 0.95


def test_a_paired_interval_is_students():
    generator = np.random.default_rng(4)
    a, b = generator.normal(size=(2, 6))
    theirs = ttest_1samp(a - b, 0).confidence_interval(0.95)
    got = paired_difference(a, b)
    assert (got.low, got.high) == pytest.approx(tuple(theirs))
    # two clusters of means 1 and 5 and sizes 3 and 1: d̄ = 2, off by −3 and 3: t₁ √(2 · 18) / 4
    clustered = paired_difference([1, 1, 5, 1], [0, 0, 0, 0], clusters=["p", "p", "q", "p"])
    assert clustered.high - 2 == pytest.approx(12.706 * 6 / 4, abs=1e-3)


def test_p_values_are_corrected_as_scipy_corrects_them():
    p = np.random.default_rng(3).random(40) ** 3
    p[7] = p[9]
    assert adjusted(p) == pytest.approx(false_discovery_control(p))
    assert adjusted([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.04, 0.04])
    assert adjusted([]).tolist() == []


def test_what_can_be_detected_is_found_as_often_as_was_asked():
    for dof in (1, 2.5, 30):
        least = detectable(2.0, dof, power_wanted=0.9)
        assert power(least, 2.0, dof) == pytest.approx(0.9, abs=1e-5)
        assert power(least, 2.0, dof) == pytest.approx(
            nct.sf(t.ppf(0.975, dof), dof, least / 2), abs=1e-9
        )
