"""Numbers that say how many items they rest on and how far they can be trusted.

Guarantees: an `Estimate` carries its n and its interval, or NaN and the reason; the same input gives the
same interval (fixed seed); items of one prompt are resampled together, since they depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "Interval",
    "bootstrap_interval",
    "bootstrap_means",
    "mean_estimate",
    "no_estimate",
    "percentile_interval",
    "proportion_estimate",
    "wilson_interval",
]

CONFIDENCE = 0.95
"""Coverage of every interval unless asked otherwise (a convention of the field)."""

NUM_RESAMPLES = 1000
"""Bootstrap resamples (derived: the Monte Carlo error of an end is then about 2% of the interval's width)."""

_MAX_DRAWS_AT_ONCE = 2_000_000
"""Clusters drawn per step of the bootstrap: bounds its memory to some 50 MB (derived: 24 bytes a draw)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """The two ends of a confidence interval, or NaN and why there is none."""

    low: float
    """Lower end; NaN when there is no interval."""
    high: float
    """Upper end; NaN when there is no interval."""
    method: str
    """``wilson``, ``wilson over prompts``, ``bootstrap over prompts``, ``robust errors over prompts`` (of a regression
    whose standard errors allow for comparisons of one prompt to depend on each other), or ``none``."""
    confidence: float = CONFIDENCE
    """The coverage it aims at, in (0, 1)."""
    reason: str | None = None
    """Why the ends are NaN."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number, how many items it was computed from, and its interval."""

    value: float
    """The number; NaN when nothing could be computed."""
    n: int
    """Items that it was computed from."""
    interval: Interval
    """Its confidence interval."""
    reason: str | None = None
    """Why the value is NaN."""


def wilson_interval(num_successes: int | float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval for a proportion of independent items.

    Formula: with p = num_successes / n and z the normal quantile of (1 + confidence) / 2, the ends are
    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Half successes (ties that count half) are
    allowed.

    Source: E. B. Wilson, 1927, Journal of the American Statistical Association 22, 209-212.

    >>> interval = wilson_interval(8, 10)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.4902, 0.9433)
    """
    if n == 0:
        return _no_interval("no items", confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = num_successes / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The ends are 0 and 1 exactly where every item agrees; rounding would leave them at 1e-17 beside.
    low = 0.0 if num_successes == 0 else (centre - spread) / scale
    high = 1.0 if num_successes == n else (centre + spread) / scale
    return Interval(low=low, high=high, method="wilson", confidence=confidence)


def bootstrap_interval(
    values: Float[np.ndarray, " item"],
    clusters: Int[np.ndarray, " item"],
    *,
    confidence: float = CONFIDENCE,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean of ``values`` when whole clusters are drawn again with replacement.

    Args:
        values: One number per item.
        clusters: Which cluster (prompt) each item belongs to; any integers.
        confidence: The coverage to aim at.
        num_resamples: How many times the clusters are drawn.
        seed: Of the draws.

    Source: A. C. Davison and D. V. Hinkley, 1997, Bootstrap Methods and their Application, 2.4 and 3.8.
    """
    if len(values) == 0:
        return _no_interval("no items", confidence)
    if np.all(clusters == clusters[0]):
        return _no_interval("one prompt alone says nothing about others", confidence)
    means = bootstrap_means(values, clusters, num_resamples=num_resamples, seed=seed)
    return percentile_interval(means, confidence=confidence)


def bootstrap_means(
    values: Float[np.ndarray, " item"],
    clusters: Int[np.ndarray, " item"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, " resample"]:
    """The mean over the items of each resample: sum of the values drawn over number of items drawn.

    Means of one ``seed`` over the same clusters are drawn alike, so their differences are paired.
    """
    _, cluster_of_item = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster_of_item, weights=values.astype(np.float64))
    sizes = np.bincount(cluster_of_item).astype(np.float64)
    rng = np.random.default_rng(seed)
    steps = [
        sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        for drawn in _draw_clusters(rng, len(sums), num_resamples)
    ]
    return np.concatenate(steps)


def percentile_interval(means: Float[np.ndarray, " resample"], *, confidence: float = CONFIDENCE) -> Interval:
    """The middle ``confidence`` of bootstrap means; none where they are all the same."""
    if not np.ptp(means) > 0:
        return _no_interval("every resample gives the same value", confidence)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(low=float(low), high=float(high), method="bootstrap over prompts", confidence=confidence)


def proportion_estimate(
    successes: Float[np.ndarray, " item"], clusters: Int[np.ndarray, " item"], *, seed: int = 0
) -> Estimate:
    """The mean of items that are 0, 1 or (a tie) a half, with the interval that their dependence asks for.

    Wilson's when no two items share a cluster, else the bootstrap over clusters. Where all items agree the
    bootstrap has nothing to resample; Wilson's interval with n = number of clusters then stands in, which is
    too wide rather than too narrow.
    """
    n, num_clusters = len(successes), len(np.unique(clusters))
    if n == 0:
        return no_estimate("no items")
    value = float(successes.mean())
    if n == num_clusters:
        interval = wilson_interval(float(successes.sum()), n)
    elif num_clusters == 1 or np.ptp(successes) == 0:
        wilson = wilson_interval(value * num_clusters, num_clusters)
        interval = Interval(low=wilson.low, high=wilson.high, method="wilson over prompts")
    else:
        interval = bootstrap_interval(successes, clusters, seed=seed)
    return Estimate(value=value, n=n, interval=interval)


def mean_estimate(
    values: Float[np.ndarray, " item"], clusters: Int[np.ndarray, " item"], *, seed: int = 0
) -> Estimate:
    """The mean of any numbers, with its bootstrap interval over clusters."""
    if len(values) == 0:
        return no_estimate("no items")
    interval = bootstrap_interval(values, clusters, seed=seed)
    return Estimate(value=float(values.astype(np.float64).mean()), n=len(values), interval=interval)


def no_estimate(reason: str, *, n: int = 0) -> Estimate:
    """NaN, with the reason."""
    return Estimate(value=math.nan, n=n, interval=_no_interval(reason, CONFIDENCE), reason=reason)


def _no_interval(reason: str, confidence: float) -> Interval:
    return Interval(low=math.nan, high=math.nan, method="none", confidence=confidence, reason=reason)


def _draw_clusters(
    rng: np.random.Generator, num_clusters: int, num_resamples: int
) -> Iterator[Int[np.ndarray, "resample cluster"]]:
    """Indices of drawn clusters, some resamples at a time."""
    step = max(1, _MAX_DRAWS_AT_ONCE // num_clusters)
    for start in range(0, num_resamples, step):
        shape = (min(step, num_resamples - start), num_clusters)
        yield rng.integers(0, num_clusters, size=shape, dtype=np.int32)
