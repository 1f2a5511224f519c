"""Confidence and accuracy, by hand and where a model knows the odds."""

from math import log

import numpy as np
import pytest

from bench.stats.bootstrap import wilson
from bench.stats.calibration import accuracy, calibration_error, log_loss, reliability

# P(what turned out true) = 0.6, 0.4, 0.75, 0.9, 0.1: confident by 0.6, 0.6, 0.75, 0.9, 0.9
ODDS = [log(3 / 2), -log(3 / 2), log(3), log(9), -log(9)]


def test_bins_by_hand():
    low, middle, high = reliability(ODDS, bins=3)  # [½, ⅔), [⅔, ⅚), [⅚, 1]
    assert [b.low for b in (low, middle, high)] == pytest.approx([1 / 2, 2 / 3, 5 / 6])
    assert [b.high for b in (low, middle, high)] == pytest.approx([2 / 3, 5 / 6, 1])
    assert [b.confidence for b in (low, middle, high)] == pytest.approx([0.6, 0.75, 0.9])
    assert [b.accuracy for b in (low, middle, high)] == [wilson(1, 2), wilson(1, 1), wilson(1, 2)]


def test_the_expected_calibration_error_by_hand():
    # (2 |0.5 − 0.6| + 1 |1 − 0.75| + 2 |0.5 − 0.9|) / 5
    assert calibration_error(reliability(ODDS, bins=3)) == pytest.approx(0.25)
    # one bin: three of five are right, with confidence 3.75 / 5
    assert calibration_error(reliability(ODDS, bins=1)) == pytest.approx(0.75 - 0.6)
    assert np.isnan(calibration_error([]))


def test_log_loss_by_hand():
    found = log_loss(ODDS)
    assert found.value == pytest.approx(-np.log([0.6, 0.4, 0.75, 0.9, 0.1]).mean())
    assert found.low < found.value < found.high
    assert log_loss([0.0, 0.0]).value == pytest.approx(log(2))
    assert log_loss([-800.0]).value == pytest.approx(800)  # no overflow


def test_who_cannot_decide_is_half_right():
    found = accuracy([1.0, 0.0, -1.0, 2.0])
    assert (found.value, found.n) == (0.625, 4)
    (one,) = reliability([0.0, 0.0])
    assert (one.low, one.confidence, one.accuracy.value) == (0.5, 0.5, 0.5)


def test_certainty_falls_into_the_last_bin_and_empty_bins_are_left_out():
    (last,) = reliability([1e3, 1e3, -1e3])
    assert (last.high, last.confidence) == (1.0, 1.0)
    assert last.accuracy == wilson(2, 3)
    assert reliability([]) == []


def test_a_model_that_states_the_odds_is_calibrated_and_a_boastful_one_is_not():
    generator = np.random.default_rng(0)
    odds = generator.normal(size=40_000)
    truth = generator.random(40_000) < 1 / (1 + np.exp(-odds))
    stated = np.where(truth, odds, -odds)
    for b in reliability(stated):
        assert b.accuracy.value == pytest.approx(b.confidence, abs=0.05)
    assert calibration_error(reliability(stated)) < 0.01
    assert calibration_error(reliability(3 * stated)) > 0.1
    assert log_loss(3 * stated).value > log_loss(stated).value
    assert accuracy(3 * stated) == accuracy(stated)


def test_a_missing_number_is_named():
    with pytest.raises(ValueError, match="log_odds: row 1 is nan"):
        reliability([0.0, float("nan")])
