"""Logistic regression with errors that know which rows belong together. SciPy and scikit-learn are not needed.

Newton's method on the log likelihood: some fifty lines, for which a dependency of 100 MB is too much. It is tested
against statsmodels and scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from plaudit.objective.intervals import CONFIDENCE

__all__ = ["LogisticFit", "fit_logistic"]

MAX_STEPS = 50
LARGEST_LOGIT = 15.0
"""A constant or fitted log odds beyond it mean that the likelihood has no maximum (derived: 1 in 3 million)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogisticFit:
    """Maximum likelihood weights and their errors."""

    weights: np.ndarray
    """float64 [feature]."""
    errors: np.ndarray
    """float64 [feature]: standard errors, robust to dependence within clusters."""

    @property
    def half_widths(self) -> Float[np.ndarray, " feature"]:
        """Half of each weight's 95% interval, by the normal distribution."""
        return NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * self.errors


def fit_logistic(
    design: Float[np.ndarray, "row feature"],
    outcome: Float[np.ndarray, " row"],
    clusters: Int[np.ndarray, " row"],
) -> LogisticFit | str:
    """Fit P(outcome = 1) = sigmoid(design @ weights), or say why it cannot be fitted.

    Args:
        design: Features, the constant among them.
        outcome: In [0, 1]; a half is half of each.
        clusters: Which rows depend on each other; any integers.

    Source of the errors: K.-Y. Liang and S. L. Zeger, 1986, with the factor G / (G - 1) for G clusters, as
    statsmodels has it.
    """
    num_rows, num_features = design.shape
    if num_rows <= num_features:
        return f"{num_rows} comparisons are too few for {num_features} weights"
    if np.ptp(outcome) == 0:
        return "the model is right everywhere, or nowhere: no weight can be told"
    if np.linalg.matrix_rank(design) < num_features:
        return "differences in style always go together: their weights cannot be told apart"
    weights = np.zeros(num_features)
    for _ in range(MAX_STEPS):
        chance = _sigmoid(design @ weights)
        gradient = design.T @ (outcome - chance)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.solve(curvature, gradient)
        # Newton's step may overshoot from far away; half a unit of log odds for the average row is enough at once.
        scale = min(1.0, 2.0 / max(1e-12, float(np.sqrt(np.mean((design @ step) ** 2)))))
        weights = weights + scale * step
        if np.abs(design @ weights).max() > LARGEST_LOGIT:
            return "style alone decides whether the model is right: the weights have no finite estimate"
        if scale == 1.0 and float(np.abs(step).max()) < 1e-10:
            return LogisticFit(weights=weights, errors=_robust_errors(design, outcome, weights, clusters))
    return "the regression does not converge"


def _robust_errors(
    design: Float[np.ndarray, "row feature"],
    outcome: Float[np.ndarray, " row"],
    weights: Float[np.ndarray, " feature"],
    clusters: Int[np.ndarray, " row"],
) -> Float[np.ndarray, " feature"]:
    chance = _sigmoid(design @ weights)
    curvature = (design * (chance * (1 - chance))[:, None]).T @ design
    _, cluster = np.unique(clusters, return_inverse=True)
    num_clusters = int(cluster.max()) + 1
    if num_clusters == 1:
        return np.full(len(weights), np.nan)
    scores = np.zeros((num_clusters, len(weights)))
    np.add.at(scores, cluster, design * (outcome - chance)[:, None])
    inverse = np.linalg.inv(curvature)
    covariance = inverse @ (scores.T @ scores) @ inverse * num_clusters / (num_clusters - 1)
    return np.sqrt(np.diag(covariance))


def _sigmoid(logit: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    return np.exp(-np.logaddexp(0.0, -logit))
