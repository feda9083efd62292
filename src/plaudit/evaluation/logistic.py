"""Logistic regression with errors that know which rows belong together. SciPy and scikit-learn are not needed.

Newton's method on the log likelihood: some fifty lines, for which a dependency of 100 MB is too much. It is tested
against statsmodels and scikit-learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from plaudit.objective.intervals import CONFIDENCE

__all__ = ["LogisticFit", "fit_logistic", "t_quantile"]

MAX_STEPS = 50
MANY_DEGREES = 200
"""Of freedom, beyond which t is near enough to the normal for an expansion (derived: `t_quantile`)."""
LARGEST_LOGIT = 15.0
"""A constant or fitted log odds beyond it mean that the likelihood has no maximum (derived: 1 in 3 million)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogisticFit:
    """Maximum likelihood weights and their errors."""

    weights: np.ndarray
    """float64 [feature]."""
    errors: np.ndarray
    """float64 [feature]: standard errors, robust to dependence within clusters; NaN where ``reason`` says why."""
    num_clusters: int
    """G, what the errors rest on."""
    reason: str | None = None
    """Why there are no errors."""

    @property
    def half_widths(self) -> Float[np.ndarray, " feature"]:
        """Half of each weight's 95% interval, by Student's t with G - 1 degrees of freedom."""
        if self.reason is not None:
            return np.full(len(self.errors), np.nan)
        return t_quantile((1 + CONFIDENCE) / 2, self.num_clusters - 1) * self.errors


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
        # Newton's step may overshoot from far away: two units of log odds, root mean square over the rows, at most.
        scale = min(1.0, 2.0 / max(1e-12, float(np.sqrt(np.mean((design @ step) ** 2)))))
        weights = weights + scale * step
        if np.abs(design @ weights).max() > LARGEST_LOGIT:
            return "style alone decides whether the model is right: the weights have no finite estimate"
        if scale == 1.0 and float(np.abs(step).max()) < 1e-10:
            return _with_errors(design, outcome, weights, clusters)
    return "the regression does not converge"


def t_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t for whole degrees of freedom and a probability of at least 1/2.

    Source: M. Abramowitz and I. Stegun, 1964, 26.7.3 and 26.7.4, inverted by bisection; from `MANY_DEGREES` on the
    expansion 26.7.5, whose error is below 1e-9 there.

    >>> round(t_quantile(0.975, 4), 4)
    2.7764
    """
    z = NormalDist().inv_cdf(probability)
    if degrees > MANY_DEGREES:
        first = (z**3 + z) / 4
        second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / degrees + second / degrees**2 + third / degrees**3
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(degrees)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, degrees) < 2 * probability - 1 else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _t_within(angle: float, degrees: int) -> float:
    """P[|T| <= sqrt(degrees) tan(angle)]."""
    is_odd = degrees % 2
    term = math.cos(angle) if is_odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + is_odd, degrees - 1, 2):
        term *= math.cos(angle) ** 2 * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if is_odd else math.sin(angle) * total


def _with_errors(
    design: Float[np.ndarray, "row feature"],
    outcome: Float[np.ndarray, " row"],
    weights: Float[np.ndarray, " feature"],
    clusters: Int[np.ndarray, " row"],
) -> LogisticFit:
    """The fit with robust errors. The clusters' scores add up to 0, so G of them tell G - 1 weights at most."""
    num_clusters, num_features = len(np.unique(clusters)), design.shape[1]
    if num_clusters <= num_features:
        found = "one prompt" if num_clusters == 1 else f"{num_clusters} prompts"
        reason = f"{found} cannot tell the errors of {num_features} weights"
        none = np.full(num_features, np.nan)
        return LogisticFit(weights=weights, errors=none, num_clusters=num_clusters, reason=reason)
    errors = _robust_errors(design, outcome, weights, clusters)
    return LogisticFit(weights=weights, errors=errors, num_clusters=num_clusters)


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
    scores = np.zeros((num_clusters, len(weights)))
    np.add.at(scores, cluster, design * (outcome - chance)[:, None])
    inverse = np.linalg.inv(curvature)
    covariance = inverse @ (scores.T @ scores) @ inverse * num_clusters / (num_clusters - 1)
    return np.sqrt(np.diag(covariance))


def _sigmoid(logit: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    return np.exp(-np.logaddexp(0.0, -logit))
