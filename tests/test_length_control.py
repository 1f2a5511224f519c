"""What a win rate is when length no longer speaks."""

import numpy as np
import pytest
from scipy.special import expit

from bench.stats.length_control import at_equal_length


def contests(theta: float, phi: float, n: int, seed: int = 0, longer: float = 0.0):
    """(wins, lengths, opponents) drawn from the model."""
    chance = np.random.default_rng(seed)
    opponents = chance.integers(5, 30, n).astype(float)
    lengths = opponents + chance.normal(longer, 8, n)
    gap = lengths - opponents
    p = expit(theta + phi * np.tanh(gap / gap.std()))
    return (chance.random(n) < p).astype(float), lengths, opponents


def test_who_wins_by_length_alone_is_no_better():
    wins, *lengths = contests(0.0, 2.0, 20_000, longer=8.0)
    assert wins.mean() > 0.7
    found = at_equal_length(wins, *lengths, resamples=20)
    assert found.value == pytest.approx(0.5, abs=0.02)


def test_who_is_better_and_shorter_gains():
    wins, *lengths = contests(1.0, 2.0, 20_000, longer=-8.0)
    found = at_equal_length(wins, *lengths, resamples=20)
    assert found.value == pytest.approx(expit(1.0), abs=0.02)
    assert wins.mean() < 0.6


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_without_a_difference_of_length_it_is_the_win_rate(share):
    wins = np.repeat([1.0, 0.0], [int(100 * share), 100 - int(100 * share)])
    same = np.full(100, 9.0)
    assert at_equal_length(wins, same, same, resamples=9).value == pytest.approx(share, abs=1e-6)


def test_ties_are_half_of_each():
    wins, *lengths = contests(0.4, 1.0, 300)
    twice = at_equal_length(np.repeat(wins, 2), *(np.repeat(x, 2) for x in lengths), resamples=9)
    halves = np.stack([wins, 1 - wins], axis=1).ravel()
    even = at_equal_length(halves, *(np.repeat(x, 2) for x in lengths), resamples=9)
    ties = at_equal_length(np.full(300, 0.5), *lengths, resamples=9)
    assert even.value == pytest.approx(ties.value, abs=1e-6)
    assert twice.value == pytest.approx(
        at_equal_length(wins, *lengths, resamples=9).value, abs=0.01
    )


def test_the_unit_of_length_does_not_matter():
    wins, lengths, opponents = contests(0.5, 1.0, 200)
    tokens = at_equal_length(wins, lengths, opponents)
    characters = at_equal_length(wins, 5 * lengths, 5 * opponents)
    assert vars(characters) == pytest.approx(vars(tokens))


def test_the_two_sides_mirror_each_other():
    wins, lengths, opponents = contests(0.5, 1.0, 200)
    ours = at_equal_length(wins, lengths, opponents)
    theirs = at_equal_length(1 - wins, opponents, lengths)
    assert ours.value + theirs.value == pytest.approx(1)


@pytest.mark.parametrize(("wins", "value"), [(1.0, 1.0), (0.0, 0.0)])
def test_a_series_of_wins_alone_has_an_answer(wins, value):
    found = at_equal_length(np.full(50, wins), np.arange(50), np.arange(50)[::-1], resamples=50)
    assert found.value == pytest.approx(value, abs=1e-4)
    assert found.low == pytest.approx(found.high, abs=1e-4)


def test_bounds_hold_the_truth_about_as_often_as_they_say():
    held = 0
    for seed in range(200):
        found = at_equal_length(*contests(0.5, 1.0, 120, seed), resamples=300, seed=seed)
        held += found.low <= expit(0.5) <= found.high
    assert 0.9 <= held / 200 <= 0.99


def test_bad_rows_are_named():
    with pytest.raises(ValueError, match="lengths: row 1 is nan"):
        at_equal_length([1, 0], [3, np.nan], [2, 2])
    with pytest.raises(ValueError, match="2 wins, 2 and 1 lengths"):
        at_equal_length([1, 0], [3, 4], [2])
    assert np.isnan(at_equal_length([], [], []).value)
