"""The temperature for which sigmoid(margin / T) is a probability: one number, by maximum likelihood.

Bradley-Terry training fixes the scale of rewards on the training data; on others a model is mostly too sure of itself.
Dividing margins by T changes no order, no accuracy and no ranking (Guo et al., arXiv:1706.04599, section 4.2).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from plaudit.objective.intervals import CONFIDENCE, Estimate, Interval, no_estimate

__all__ = ["fit_temperature"]

RELATIVE_WIDTH = 1e-13
"""Of the last bracket of the solution (derived: a few units in the last place of float64)."""


def fit_temperature(
    margin: Float[np.ndarray, " comparison"], clusters: Int[np.ndarray, " comparison"]
) -> Estimate:
    """T that maximises the sum of log sigmoid(margin / T), with its interval.

    In b = 1 / T the mean log loss is convex, and its slope, -mean(margin * sigmoid(-b * margin)), has one zero: it is
    bracketed and halved. The interval is that of log T, by the sandwich estimator over prompts.

    Args:
        margin: reward(better) - reward(worse) of decided comparisons.
        clusters: The prompt of each comparison, for the interval.

    Returns:
        T in units of reward; NaN with its reason where no T above 0 is best: no comparison, every margin on the right
        side (T would go to 0: any smaller one is likelier still), or a mean margin of 0 or less (T would be infinite
        or negative: the model does not prefer the better completion).
    """
    margin = margin.astype(np.float64)
    n = len(margin)
    if n == 0:
        return no_estimate("no comparisons")
    if not margin.any():
        return no_estimate("all margins are 0", n=n)
    if margin.min() >= 0:
        reason = f"all {n:,} comparisons are on the right side or ties, so that T would go to 0"
        return no_estimate(f"{reason}: harder comparisons are needed, or more of them", n=n)
    if margin.mean() <= 0:
        reason = f"the mean margin is {margin.mean():.3g}, so that T would not be above 0"
        return no_estimate(f"{reason}: the model does not prefer the better completions", n=n)
    scale = float(np.abs(margin).mean())  # rewards may come in any unit
    inverse = _zero_of_slope(margin / scale) / scale
    return Estimate(value=1 / inverse, n=n, interval=_interval(margin, clusters, inverse))


def _zero_of_slope(margin: Float[np.ndarray, " comparison"]) -> float:
    high = 1.0
    while _slope(margin, high) < 0:
        high *= 2
    low = high / 2 if high > 1 else 0.0
    while high - low > RELATIVE_WIDTH * high:
        middle = (low + high) / 2
        if _slope(margin, middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _slope(margin: Float[np.ndarray, " comparison"], inverse: float) -> float:
    return -float(np.mean(margin * _sigmoid(-inverse * margin)))


def _interval(
    margin: Float[np.ndarray, " comparison"], clusters: Int[np.ndarray, " comparison"], inverse: float
) -> Interval:
    """Comparisons of one prompt depend on each other, so their scores are added up before they are squared."""
    _, cluster_of = np.unique(clusters, return_inverse=True)
    wrong = _sigmoid(-inverse * margin)
    scores = np.bincount(cluster_of, weights=margin * wrong)
    num_clusters = len(scores)
    if num_clusters < 2:
        reason = "one prompt alone says nothing about others"
        return Interval(low=math.nan, high=math.nan, method="none", reason=reason)
    information = float(np.sum(margin**2 * wrong * (1 - wrong)))
    variance = float(scores @ scores) * num_clusters / (num_clusters - 1) / information**2
    spread = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(variance) / inverse
    low, high = math.exp(-spread) / inverse, math.exp(min(spread, 700.0)) / inverse
    return Interval(low=low, high=high, method="sandwich over prompts")


def _sigmoid(logit: Float[np.ndarray, " comparison"]) -> Float[np.ndarray, " comparison"]:
    return np.exp(-np.logaddexp(0.0, -logit))
