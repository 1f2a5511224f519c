"""Judges and people: values by hand, and tests that reject as often as they should."""

import numpy as np
import pytest

from bench.stats.agreement import (
    among_themselves,
    cases_to_decide,
    kendall,
    kendall_pooled,
    kendall_within,
    mcnemar,
    pairwise_accuracy,
    right,
    told_apart,
)


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


# --- scores against ratings of several answers to each document -------------------------------------


def test_kendall_by_hand():
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall([3, 2, 1], [1, 2, 3]) == -1
    # one tie in three pairs of ratings: 2 / sqrt(3 · 2)
    assert kendall([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / 6**0.5)
    assert kendall([1, 2, np.nan, 3], [1, 3, 9, 2]) == pytest.approx(1 / 3)
    assert np.isnan(kendall([1, 1, 1], [1, 2, 3]))
    assert np.isnan(kendall([1, np.nan], [1, 2]))


def test_pairs_that_people_told_apart():
    hits, documents = told_apart([[1, 2, 3], [5, 5], []], [[1, 3, 2], [2, 1], []])
    assert hits.tolist() == [1, 1, 0, 0.5]
    assert documents == [0, 0, 0, 1]
    hits, _ = told_apart([[1, 2, np.nan]], [[1, 1, 2]])
    assert np.isnan(hits).all()  # an even pair is no pair, and one answer was not judged
    assert len(hits) == 2


def test_levels_of_documents_count_when_pooled_alone():
    """Within each document the judge is always wrong; between documents, right."""
    scores = [[2.0, 1.0], [12.0, 11.0], [22.0, 21.0]]
    ratings = [[1.0, 2.0], [11.0, 12.0], [21.0, 22.0]]
    assert kendall_within(scores, ratings).value == -1
    assert kendall_pooled(scores, ratings).value == pytest.approx((12 - 3) / 15)
    assert pairwise_accuracy(scores, ratings).value == 0


def test_answers_to_one_document_are_no_independent_evidence():
    draw = np.random.default_rng(0)
    right_on = draw.random(30) < 0.5  # of these documents every pair
    ratings = [[1.0, 2.0, 3.0, 4.0]] * 30
    scores = [r if good else r[::-1] for r, good in zip(ratings, right_on, strict=True)]
    found = pairwise_accuracy(scores, ratings)
    assert found.n == 180
    assert found.high - found.low > 0.3  # ±1.96 · sqrt(.25 / 30), and not / 180
    pooled = kendall_pooled(scores, ratings)
    assert pooled.n == 120
    assert pooled.high - pooled.low > 0.5
    assert pooled.low < pooled.value < pooled.high


def test_a_document_that_was_not_judged_counts_nowhere():
    scores, ratings = [[1, 2], [2, 1], [2, 1]], [[1, 2], [2, 1], [1, 2]]
    judged = [*scores[:2], [np.nan, np.nan]]
    for measure in (kendall_within, kendall_pooled, pairwise_accuracy):
        some, fewer = measure(judged, ratings), measure(scores[:2], ratings[:2])
        assert (some.value, some.n) == (fewer.value, fewer.n)
    assert kendall_within(judged, ratings).value == 1
    none = kendall_pooled([[np.nan] * 2] * 3, ratings)
    assert np.isnan(none.value)
    assert none.n == 0
