"""How much of the accuracy could be length: what picking the longer answer gives, how reward follows length.

Lengths for picking are characters of the completion's text, which no tokenizer changes; lengths for
correlation are tokens of the completion, which is what the model sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from plaudit.evaluation.rows import ComparisonRows
from plaudit.objective.intervals import Estimate, no_estimate, proportion_estimate

Numbers: TypeAlias = Float[np.ndarray, " n"] | Int[np.ndarray, " n"]

__all__ = ["Correlation", "LengthBias", "average_ranks", "measure_length_bias", "pearson"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """A correlation coefficient. It has no interval: sequences of one prompt depend on each other."""

    value: float
    """In [-1, 1]; NaN when it is not defined."""
    n: int
    """Distinct sequences that it was computed from."""
    reason: str | None = None
    """Why the value is NaN."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthBias:
    """Length against judgement and against reward. Accuracies run over comparisons that are not data ties."""

    longer_baseline: Estimate
    """Accuracy of always picking the completion with more characters; equal lengths count half."""
    shorter_baseline: Estimate
    """Accuracy of always picking the one with fewer: 1 - ``longer_baseline``."""
    accuracy_better_longer: Estimate
    """The model's accuracy where the better completion has more characters."""
    accuracy_better_shorter: Estimate
    """The model's accuracy where the better completion has fewer."""
    num_equal_length: int
    """Comparisons whose completions have equally many characters."""
    pearson: Correlation
    """Of reward with length in tokens, over distinct sequences."""
    spearman: Correlation
    """Of the ranks of the two."""


def measure_length_bias(decided: ComparisonRows, correctness: Float[np.ndarray, " comparison"]) -> LengthBias:
    """Length statistics of comparisons without data ties.

    Args:
        decided: The comparisons, data ties excluded.
        correctness: 1, 0 or, for equal rewards, what the tie rule gives.
    """
    difference = decided.num_characters_better - decided.num_characters_worse
    longer = (np.sign(difference) + 1) / 2
    return LengthBias(
        longer_baseline=proportion_estimate(longer, decided.prompt),
        shorter_baseline=proportion_estimate(1 - longer, decided.prompt),
        accuracy_better_longer=_accuracy_where(difference > 0, decided, correctness, "longer"),
        accuracy_better_shorter=_accuracy_where(difference < 0, decided, correctness, "shorter"),
        num_equal_length=int(np.count_nonzero(difference == 0)),
        pearson=pearson(decided.sequence_reward, decided.sequence_num_tokens),
        spearman=pearson(average_ranks(decided.sequence_reward), average_ranks(decided.sequence_num_tokens)),
    )


def pearson(x: Numbers, y: Numbers) -> Correlation:
    """Pearson's correlation, in float64; NaN for fewer than two values or where one side is constant."""
    n = len(x)
    if n < 2:
        return Correlation(value=math.nan, n=n, reason="fewer than two sequences")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        constant = "rewards" if np.ptp(x) == 0 else "lengths"
        return Correlation(value=math.nan, n=n, reason=f"all {constant} are equal")
    a, b = x.astype(np.float64), y.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    value = float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))
    return Correlation(value=max(-1.0, min(1.0, value)), n=n)


def average_ranks(values: Numbers) -> Float[np.ndarray, " n"]:
    """Ranks from 0; equal values share the mean of the ranks they span."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + last - 1) / 2)[inverse]


def _accuracy_where(
    mask: Bool[np.ndarray, " comparison"],
    decided: ComparisonRows,
    correctness: Float[np.ndarray, " comparison"],
    word: str,
) -> Estimate:
    if not mask.any():
        return no_estimate(f"no comparison whose better completion is {word}")
    return proportion_estimate(correctness[mask], decided.prompt[mask])
