"""Intervals cover, tests keep their level, and pairs and clusters are worth what they should be."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from bench.stats.bootstrap import Interval, mean_interval, paired_difference, wilson


def band(n, p):
    """What a binomial count stays within, as a share, 999 times in 1000."""
    return binom.ppf(0.0005, n, p) / n, binom.ppf(0.9995, n, p) / n


def test_bounds_by_hand():
    # of two values, a resample has mean 0, ½ or 1 in ¼, ½ and ¼ of the cases
    got = mean_interval([0.0, 1.0], level=0.8)
    assert (got.value, got.low, got.high, got.n) == (0.5, 0.0, 1.0, 2)
    assert mean_interval([0.0, 1.0], level=0.4) == Interval(0.5, 0.5, 0.5, 2)


def test_clusters_weigh_by_their_values():
    # clusters (1, 1, 1) and (5): the mean is 2 of four values; resamples give 6/6, 8/4 and 10/2
    got = mean_interval([1, 1, 5, 1], clusters=["p", "p", "q", "p"])
    assert (got.value, got.low, got.high, got.n) == (2.0, 1.0, 5.0, 4)


def test_percentiles_agree_with_normal_theory():
    values = np.random.default_rng(1).normal(size=400)
    got, half = mean_interval(values, resamples=4000), 1.96 * values.std() / 20
    assert got.low == pytest.approx(values.mean() - half, abs=0.006)
    assert got.high == pytest.approx(values.mean() + half, abs=0.006)


def test_coverage_of_a_skewed_mean():
    draws = np.random.default_rng(2).exponential(size=(400, 100))
    intervals = [mean_interval(x, resamples=400) for x in draws]
    low, high = band(400, 0.94)  # percentile intervals of a skewed mean fall short by a hundredth
    assert low <= np.mean([i.low <= 1 <= i.high for i in intervals]) <= high


def test_coverage_with_clusters_and_its_lack_without():
    generator = np.random.default_rng(3)
    naive, clustered = [], []
    for _ in range(300):
        values = (generator.normal(size=(60, 1)) + 0.5 * generator.normal(size=(60, 4))).ravel()
        labels = np.repeat(np.arange(60), 4).tolist()
        naive.append(mean_interval(values, resamples=300))
        clustered.append(mean_interval(values, labels, resamples=300))
    low, high = band(300, 0.94)
    assert low <= np.mean([i.low <= 0 <= i.high for i in clustered]) <= high
    assert np.mean([i.low <= 0 <= i.high for i in naive]) < 0.8
    assert all(
        c.high - c.low > 1.4 * (n.high - n.low) for c, n in zip(clustered, naive, strict=True)
    )


def test_p_values_are_uniform_where_nothing_differs():
    generator = np.random.default_rng(4)
    p = [
        paired_difference(*generator.normal(size=(2, 40)), resamples=400).p_value
        for _ in range(300)
    ]
    assert kstest(p, "uniform").pvalue > 0.01
    low, high = band(300, 0.05)
    assert low <= np.mean(np.array(p) <= 0.05) <= high


def test_p_value_by_hand():
    # differences 1, 1, 1: two of eight sign patterns are as extreme
    got = paired_difference([2, 3, 4], [1, 2, 3], resamples=9999)
    assert got.p_value == pytest.approx(0.25, abs=0.02)
    assert (got.difference, got.low, got.high, got.n, got.better) == (1.0, 1.0, 1.0, 3, True)
    # ... and two of four where the first two rows are one prompt
    one_prompt = paired_difference([2, 3, 4], [1, 2, 3], clusters=[0, 0, 1], resamples=9999)
    assert one_prompt.p_value == pytest.approx(0.5, abs=0.02)


def test_p_value_is_never_zero_and_ties_do_not_hang_on_rounding():
    assert paired_difference(np.ones(50), np.zeros(50), resamples=99).p_value == 0.01
    # 0.1 + 0.2 + 0.3 in any order and sign
    tenths = paired_difference([0.1, 0.2, 0.3], [0, 0, 0], resamples=9999)
    assert tenths.p_value == pytest.approx(0.25, abs=0.02)
    same = paired_difference([0.3, 0.7], [0.3, 0.7])
    assert (same.p_value, same.better) == (1.0, False)


def test_pairs_see_what_two_intervals_do_not():
    generator = np.random.default_rng(5)
    prompt = generator.normal(size=200)
    a, b = prompt + 0.1 + 0.2 * generator.normal(size=200), prompt
    assert mean_interval(a).low < mean_interval(b).high  # they overlap
    got = paired_difference(a, b)
    assert got.better
    assert got.difference > 0
    assert got.p_value < 0.001
    worse = paired_difference(b, a)
    assert worse.better  # one of the two is
    assert worse.difference == -got.difference


def test_few_values_have_no_bounds():
    none, one = mean_interval([]), mean_interval([3.0])
    assert none.n == 0
    assert np.isnan([none.value, none.low, none.high]).all()
    assert (one.value, one.n) == (3.0, 1)
    assert np.isnan([one.low, one.high]).all()
    assert np.isnan(mean_interval([1.0, 2.0], clusters=[7, 7]).low)
    got = paired_difference([1.0], [0.0])
    assert (got.p_value, got.better) == (1.0, False)
    assert paired_difference([], []).p_value == 1.0


def test_a_missing_value_is_named():
    with pytest.raises(ValueError, match="values: row 1 is nan"):
        mean_interval([0.0, float("nan")])
    with pytest.raises(ValueError, match="b: row 0 is inf"):
        paired_difference([0.0], [float("inf")])
    with pytest.raises(ValueError, match="do not make pairs"):
        paired_difference([0.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="1 clusters for 2 values"):
        mean_interval([0.0, 1.0], clusters=["a"])


def test_the_same_call_gives_the_same_numbers_and_leaves_numpy_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    values = np.arange(30.0)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values, seed=1) != mean_interval(values)
    assert paired_difference(values, values[::-1]) == paired_difference(values, values[::-1])
    assert (np.random.get_state()[1] == before).all()


def test_blocks_change_nothing(monkeypatch):
    values = np.random.default_rng(6).normal(size=50)
    whole = mean_interval(values), paired_difference(values, -values)
    monkeypatch.setattr("bench.stats.bootstrap.CELLS", 130)
    assert (mean_interval(values), paired_difference(values, -values)) == whole


def test_wilson_by_hand():
    # 8 of 10, z = 1.96: (0.8 + 0.19207 ± 1.96 √(0.016 + 0.0096037)) / 1.38415
    got = wilson(8, 10)
    assert (got.value, got.n) == (0.8, 10)
    assert [got.low, got.high] == pytest.approx([0.49016, 0.94332], abs=1e-5)
    assert wilson(0, 10).low == 0.0
    assert wilson(0, 10).high == pytest.approx(0.27753, abs=1e-5)
    assert wilson(10, 10).high == 1.0
    assert wilson(2.5, 5).value == 0.5
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 successes out of 2"):
        wilson(3, 2)
