"""Whether sigmoid(margin) is the probability that it claims to be: log loss, Brier score, calibration error.

Under Bradley-Terry the model says that the better completion wins with probability p = sigmoid(margin), where
margin is reward(better) - reward(worse). Required margins and weights of the data, which shape the training
loss, do not enter here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from plaudit.objective.intervals import Estimate, mean_estimate
from plaudit.objective.metrics import negative_log_sigmoid

__all__ = ["NUM_BINS", "Calibration", "CalibrationBin", "measure_calibration"]

NUM_BINS = 15
"""Bins of the calibration error (convention: Guo et al., arXiv:1706.04599, section 4)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationBin:
    """Comparisons whose confidence falls in one interval: a bar of the reliability diagram."""

    low: float
    """Lower edge of the confidence."""
    high: float
    """Upper edge."""
    n: int
    """Comparisons in the bin."""
    mean_confidence: float
    """Mean of max(p, 1 - p) in the bin; NaN when it is empty."""
    accuracy: float
    """Share in which the favoured completion is the better one, p = 1/2 counting half; NaN when empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How far the claimed probabilities are from what happened, over comparisons that are not data ties."""

    log_loss: Estimate
    """Mean of -log p, natural logarithm; log 2 = 0.693 for a model that says 1/2 always."""
    brier_score: Estimate
    """Mean of (1 - p)^2; 0.25 for a model that says 1/2 always."""
    expected_calibration_error: float
    """Mean over comparisons of |accuracy - mean confidence| of their bin; NaN when there are none.
    It has no interval: resampling moves it upwards (it is an absolute value)."""
    bins: tuple[CalibrationBin, ...]
    """The `NUM_BINS` bins of equal width over confidence max(p, 1 - p) in [1/2, 1]."""


def measure_calibration(
    margin: Float[np.ndarray, " comparison"], clusters: Int[np.ndarray, " comparison"]
) -> Calibration:
    """Calibration of reward differences.

    Folding p to max(p, 1 - p) makes the measure indifferent to which completion is named first: without it
    every outcome is "the better wins" and a calibrated model would look underconfident.

    Args:
        margin: reward(better) - reward(worse).
        clusters: The prompt of each comparison, for the intervals.
    """
    bins = _fill_bins(margin)
    return Calibration(
        log_loss=mean_estimate(negative_log_sigmoid(margin), clusters),
        brier_score=mean_estimate(_sigmoid(-margin) ** 2, clusters),
        expected_calibration_error=_calibration_error(bins),
        bins=bins,
    )


def _sigmoid(logit: Float[np.ndarray, " comparison"]) -> Float[np.ndarray, " comparison"]:
    return np.exp(-negative_log_sigmoid(logit))


def _fill_bins(margin: Float[np.ndarray, " comparison"]) -> tuple[CalibrationBin, ...]:
    confidence = _sigmoid(np.abs(margin))
    outcome = (np.sign(margin) + 1) / 2
    edges = np.linspace(0.5, 1.0, NUM_BINS + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, NUM_BINS - 1)
    n = np.bincount(bin_of, minlength=NUM_BINS)
    confidence_sum = np.bincount(bin_of, weights=confidence, minlength=NUM_BINS)
    outcome_sum = np.bincount(bin_of, weights=outcome, minlength=NUM_BINS)
    return tuple(
        CalibrationBin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            n=int(n[i]),
            mean_confidence=float(confidence_sum[i] / n[i]) if n[i] else math.nan,
            accuracy=float(outcome_sum[i] / n[i]) if n[i] else math.nan,
        )
        for i in range(NUM_BINS)
    )


def _calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    total = sum(b.n for b in bins)
    if total == 0:
        return math.nan
    return sum(b.n * abs(b.accuracy - b.mean_confidence) for b in bins if b.n) / total
