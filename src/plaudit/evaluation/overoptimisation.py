"""Whether choosing among more samples makes the pick worse, and how the curve differs with difficulty.

A reward that is not the quality is over-optimised when the best of many by reward is worse than the best of
fewer: the curve falls after a peak (L. Gao et al., arXiv:2210.10760). The peak is found on the same data, so its
fall is judged by intervals that hold for all n together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from plaudit.evaluation.bestofn import BestOfNCurve, expected_best_of_n, quality_by_n
from plaudit.evaluation.bestofn_input import PerPrompt, clusters_or_own
from plaudit.objective.intervals import CONFIDENCE, NUM_RESAMPLES, bootstrap_means

__all__ = ["DifficultyLevel", "OverOptimisation", "curves_by_difficulty", "measure_overoptimisation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OverOptimisation:
    """The best n, and what is lost from it to the largest n."""

    best_n: int
    """The n at which the mean quality of the pick is highest; the smallest of equal ones."""
    largest_n: int
    """The largest n asked for."""
    change: float
    """Mean quality at the largest n less that at the best n; exactly 0 where they are equal, NaN without prompts."""
    low: float
    """Lower end of its interval, which holds at once for the change from every n; NaN where there is none."""
    high: float
    """Upper end; below 0 where the fall is shown."""
    num_prompts: int
    """Different prompts with samples for every n: the ones that this rests on."""

    @property
    def is_shown(self) -> bool:
        """Whether the curve falls by more than chance explains."""
        return self.high < 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DifficultyLevel:
    """The curve over prompts whose samples are about equally good on average."""

    low: float
    """Lowest mean quality of a prompt's samples in this level."""
    high: float
    """Highest."""
    curve: BestOfNCurve
    """Its curve."""


def measure_overoptimisation(
    rewards: PerPrompt,
    quality: PerPrompt,
    n_values: Sequence[int],
    *,
    confidence: float = CONFIDENCE,
    clusters: Int[np.ndarray, " prompt"] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> OverOptimisation:
    """The change from the best n to the largest, with an interval over prompts.

    For every n the change to the largest n is resampled over prompts; the intervals are estimate -+ c times its
    standard error, where c is the quantile of the largest standardised deviation over all n (max-t: A. C. Davison
    and D. V. Hinkley, 1997, 4.4.4). They hold together, so choosing the best n afterwards does not spoil them.
    Where every prompt changes by the same, no resample differs, and the change is its own interval; but not of so few
    prompts that they would all fall together by chance (`_say_nothing_alike`).

    Args:
        rewards: As in `expected_best_of_n`.
        quality: As there.
        n_values: Rising.
        confidence: The coverage to aim at.
        clusters: As in `expected_best_of_n`.
        num_resamples: How many times prompts are drawn.
        seed: Of the draws.

    Raises:
        PlauditError: As there.
    """
    curves = quality_by_n(rewards, quality, n_values)
    is_known = ~np.isnan(curves).any(axis=1)
    clusters = clusters_or_own(clusters, len(curves))[is_known]
    curves = curves[is_known]
    largest = n_values[-1]
    if len(curves) == 0:
        nan = math.nan
        return OverOptimisation(
            best_n=largest, largest_n=largest, change=nan, low=nan, high=nan, num_prompts=0
        )
    means = curves.mean(axis=0).round(12)
    best = int(np.argmax(means))
    # Rounded, so that a last digit in which equal qualities differ is no fall.
    changes = (curves[:, -1:] - curves).round(12)
    low, high = _joint_interval(changes, clusters, best, confidence, num_resamples, seed)
    return OverOptimisation(
        best_n=n_values[best],
        largest_n=largest,
        change=0.0 if means[best] == means[-1] else float(changes[:, best].mean()),
        low=low,
        high=high,
        num_prompts=len(np.unique(clusters)),
    )


def curves_by_difficulty(
    rewards: PerPrompt,
    quality: PerPrompt,
    n_values: Sequence[int],
    *,
    num_levels: int,
    answers: Sequence[Sequence[str | None]] | None = None,
    clusters: Int[np.ndarray, " prompt"] | None = None,
) -> tuple[DifficultyLevel, ...]:
    """The curve for prompts of each level of difficulty, hardest first.

    Levels are cut at the quantiles of the prompts' mean quality; prompts of equal mean quality stay together, so
    there may be fewer levels than asked for. Of each level the n that no prompt reaches are left out.

    Args:
        rewards: As in `expected_best_of_n`.
        quality: As there.
        n_values: As there.
        num_levels: How many levels, 2 or more.
        answers: As there.
        clusters: As there.
    """
    clusters = clusters_or_own(clusters, len(quality))
    means = np.array([float(np.mean(q)) for q in quality])
    cuts = np.quantile(means, np.linspace(0, 1, num_levels + 1)[1:-1])
    level_of = np.searchsorted(np.unique(cuts), means, side="left")
    levels = []
    for level in np.unique(level_of):
        chosen = np.flatnonzero(level_of == level).tolist()
        most = max(len(rewards[i]) for i in chosen)
        curve = expected_best_of_n(
            [rewards[i] for i in chosen],
            [quality[i] for i in chosen],
            [n for n in n_values if n <= most],
            answers=None if answers is None else [answers[i] for i in chosen],
            clusters=clusters[chosen],
        )
        inside = means[chosen]
        levels.append(DifficultyLevel(low=float(inside.min()), high=float(inside.max()), curve=curve))
    return tuple(levels)


def _joint_interval(
    changes: Float[np.ndarray, "prompt n"],
    clusters: Int[np.ndarray, " prompt"],
    best: int,
    confidence: float,
    num_resamples: int,
    seed: int,
) -> tuple[float, float]:
    """The interval of one column's mean, of those that hold for all columns together."""
    num_clusters = len(np.unique(clusters))
    mean = changes.mean(axis=0)
    # One seed draws the same prompts for every n.
    means = np.stack(
        [bootstrap_means(column, clusters, num_resamples=num_resamples, seed=seed) for column in changes.T],
        axis=1,
    )
    error = means.std(axis=0)
    varies = error > 1e-12
    if not varies[best]:
        nothing = _say_nothing_alike(num_clusters, confidence)
        return (math.nan, math.nan) if nothing else (float(mean[best]), float(mean[best]))
    deviation = np.abs(means[:, varies] - mean[varies]) / error[varies]
    factor = float(np.quantile(deviation.max(axis=1), confidence))
    return float(mean[best] - factor * error[best]), float(mean[best] + factor * error[best])


def _say_nothing_alike(num_prompts: int, confidence: float) -> bool:
    """Whether so few prompts would all fall, or all rise, by chance more often than the confidence allows (sign test).

    >>> _say_nothing_alike(5, 0.95), _say_nothing_alike(6, 0.95)
    (True, False)
    """
    return 2 * 0.5**num_prompts > 1 - confidence
