"""Judges and people: values by hand, and tests that reject as often as they should."""

import numpy as np
import pytest

from bench.stats.agreement import among_themselves, cases_to_decide, mcnemar, right


def test_right_by_hand():
    found = right([1.0, -2.0, 0.0, 3.0, np.nan, 1.0], [1.0, 1.0, 0.8, 0.2, 1.0, 0.5])
    assert found.tolist()[:4] == [1, 0, 0.5, 0]
    assert np.isnan(found[4:]).all()  # not judged; people are even


def test_mcnemar_by_hand():
    """Of 4 cases on which one alone is right it is the first each time: p = (2 − 1) / 2^4."""
    ours, theirs = [1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1]
    assert mcnemar(ours, theirs) == mcnemar(theirs, ours) == pytest.approx(1 / 2**4)
    assert mcnemar(ours, ours) == 1


def test_as_many_cases_as_it_says_decide_as_often_as_it_says():
    """Two judges of accuracy 0.8 and 0.7, independent of each other."""
    chance = np.random.default_rng(0)

    def hits(n):
        return (chance.random(n) < 0.8).astype(float), (chance.random(n) < 0.7).astype(float)

    need = cases_to_decide(*hits(200_000))
    decided = np.mean([mcnemar(*hits(round(need))) < 0.05 for _ in range(1000)])
    assert decided == pytest.approx(0.8, abs=0.05)


def test_judges_that_are_right_equally_often_are_told_apart_as_often_as_it_says():
    chance = np.random.default_rng(2)
    told = [mcnemar(*(chance.random((2, 100)) < 0.7).astype(float)) < 0.05 for _ in range(2000)]
    assert np.mean(told) == pytest.approx(0.05, abs=0.012)


def test_who_is_right_equally_often_is_never_told_apart():
    assert cases_to_decide([1, 0], [0, 1]) == np.inf


def test_people_by_hand():
    """Three cases: agreed by two, disputed by two, and 2 : 1 (a third of its pairs agree)."""
    agreed = among_themselves([(2, 0), (1, 1), (2, 1), (1, 0)])
    assert (agreed.value, agreed.n) == (pytest.approx((1 + 0 + 1 / 3) / 3), 3)


def test_without_a_case_that_two_labelled_nothing_is_known():
    agreed = among_themselves([(1, 0), (0, 1)])
    assert agreed.n == 0
    assert np.isnan(agreed.value)
