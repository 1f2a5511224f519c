"""The ratio of two densities, where it is known."""

import numpy as np
import pytest

from bench.stats.density_ratio import density_ratio


def test_two_normal_clouds():
    """N(½, 1) against N(−½, 1): the log-ratio is x itself, also where one cloud is larger."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0.5, 1, 3000), rng.normal(-0.5, 1, 30_000)])
    among = np.arange(len(x)) < 3000
    found = density_ratio(x[:, None], among, 0.0, np.inf)
    inner = np.abs(x) < 1.5
    assert np.abs(np.log(found[inner]) - x[inner]).max() < 0.1


def test_rows_that_nothing_tells_apart_weigh_one():
    x = np.random.default_rng(0).normal(size=(50, 4))
    both = np.concatenate([x, x])
    found = density_ratio(both, np.arange(100) < 50, 0.5, 10.0)
    assert found == pytest.approx(np.ones(100), abs=1e-4)


def test_it_stays_within_its_bounds_and_a_constant_says_nothing():
    x = np.array([[-50.0, 7.0]] * 20 + [[50.0, 7.0]] * 20)
    found = density_ratio(x, np.arange(40) >= 20, 0.5, 10.0)
    assert set(found[:20]) == {0.5}
    assert set(found[20:]) == {10.0}


def test_one_class_alone_is_no_comparison():
    x = np.random.default_rng(0).normal(size=(10, 2))
    assert np.isfinite(density_ratio(x, np.ones(10, dtype=bool), 0.5, 10.0)).all()
