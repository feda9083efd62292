"""Log loss, Brier score and calibration error against scikit-learn and against values worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from plaudit.evaluation.calibration import NUM_BINS, Calibration, measure_calibration


def measure(margins: list[float] | np.ndarray) -> Calibration:
    return measure_calibration(np.asarray(margins, dtype=np.float64), np.arange(len(margins)))


@pytest.fixture(scope="module")
def margins() -> np.ndarray:
    return np.random.default_rng(0).normal(0.4, 1.5, size=700)


def test_log_loss_and_brier_score_equal_scikit_learn(margins: np.ndarray):
    probability, won = 1 / (1 + np.exp(-margins)), np.ones(len(margins))
    ours = measure(margins)
    assert ours.log_loss.value == pytest.approx(log_loss(won, probability, labels=[0, 1]), rel=1e-12)
    assert ours.brier_score.value == pytest.approx(brier_score_loss(won, probability), rel=1e-12)
    assert ours.log_loss.n == 700


def test_calibration_error_equals_bins_of_scikit_learn(margins: np.ndarray):
    # scikit-learn bins [0, 1]; 2 * confidence - 1 stretches [1/2, 1] over it, and back.
    confidence = 1 / (1 + np.exp(-np.abs(margins)))
    stretched = 2 * confidence - 1
    accuracy, mean_stretched = calibration_curve(margins > 0, stretched, n_bins=NUM_BINS, strategy="uniform")
    counts, _ = np.histogram(stretched, bins=NUM_BINS, range=(0, 1))
    gaps = np.abs(accuracy - (mean_stretched + 1) / 2)
    expected = float(counts[counts > 0] @ gaps / counts.sum())
    assert measure(margins).expected_calibration_error == pytest.approx(expected, rel=1e-9)


def test_four_comparisons_equal_values_worked_by_hand():
    # p = 0.95, 0.95, 0.05, 0.65: confidences 0.95 (three, two of them right) and 0.65 (right).
    logit = {p: math.log(p / (1 - p)) for p in (0.95, 0.05, 0.65)}
    ours = measure([logit[0.95], logit[0.95], logit[0.05], logit[0.65]])
    assert ours.expected_calibration_error == pytest.approx((3 * abs(2 / 3 - 0.95) + abs(1 - 0.65)) / 4)
    assert ours.brier_score.value == pytest.approx((0.0025 + 0.0025 + 0.9025 + 0.1225) / 4)
    expected = -(2 * math.log(0.95) + math.log(0.05) + math.log(0.65)) / 4
    assert ours.log_loss.value == pytest.approx(expected)


def test_bins_cover_one_half_to_one_and_hold_every_comparison(margins: np.ndarray):
    bins = measure(margins).bins
    assert (bins[0].low, bins[-1].high, len(bins)) == (0.5, 1.0, NUM_BINS)
    assert sum(b.n for b in bins) == 700


def test_which_completion_is_named_better_does_not_move_the_confidences(margins: np.ndarray):
    there, back = measure(margins), measure(-margins)
    for a, b in zip(there.bins, back.bins, strict=True):
        assert a.n == b.n
        assert a.n == 0 or a.accuracy == pytest.approx(1 - b.accuracy)


def test_equal_rewards_claim_one_half_and_are_calibrated():
    ours = measure([0.0, 0.0])
    assert ours.expected_calibration_error == 0.0
    assert ours.log_loss.value == pytest.approx(math.log(2))
    assert ours.brier_score.value == 0.25


def test_certainty_falls_in_the_last_bin():
    ours = measure([1e4, -1e4])
    assert ours.bins[-1].n == 2
    assert ours.expected_calibration_error == 0.5
    assert ours.log_loss.value == 5000.0


def test_nothing_measured_is_nan():
    ours = measure([])
    assert math.isnan(ours.expected_calibration_error)
    assert math.isnan(ours.log_loss.value) and ours.log_loss.reason == "no items"
