"""How far rewards are apart, as a histogram of the margins of decided comparisons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["MarginHistogram", "margin_histogram"]

MAX_BINS = 60
"""Bars at most (assumed: what a chart can show)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginHistogram:
    """Counts of reward(better) - reward(worse) in bins of equal width; zero is an edge wherever it is in the range."""

    edges: tuple[float, ...]
    """B + 1 edges, rising; each bin holds its lower edge, the last one both. Empty where there are no margins."""
    counts: tuple[int, ...]
    """B counts, which add up to the number of margins."""


def margin_histogram(margin: Float[np.ndarray, " comparison"]) -> MarginHistogram:
    """The histogram, with bins as the Freedman-Diaconis rule has them but never more than `MAX_BINS`.

    A bin is wholly on one side of zero, so that right and wrong comparisons do not mix; equal rewards are in the bin
    above it.

    Source: D. Freedman and P. Diaconis, 1981, On the histogram as a density estimator, section 1.

    >>> margin_histogram(np.array([-1.0, 0.5, 1.0, 1.5]))
    MarginHistogram(edges=(-2.0, 0.0, 2.0), counts=(1, 3))
    """
    if len(margin) == 0:
        return MarginHistogram(edges=(), counts=())
    low, high = min(float(margin.min()), 0.0), max(float(margin.max()), 0.0)
    width = _width(margin, high - low)
    first, last = int(np.floor(low / width)), int(np.floor(high / width)) + 1
    first -= first * width > low  # the division may have rounded up to a whole number
    edges = np.arange(first, last + 1) * width
    counts, _ = np.histogram(margin, bins=edges)
    return MarginHistogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _width(margin: Float[np.ndarray, " comparison"], span: float) -> float:
    """A round number (1, 2 or 5 times a power of ten) not below the rule's width."""
    quartiles = np.percentile(margin, [25, 75])
    width = 2 * float(quartiles[1] - quartiles[0]) / len(margin) ** (1 / 3)
    width = max(width, span / (MAX_BINS - 2))
    if width == 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(width))
    return float(power * next(factor for factor in (1, 2, 5, 10) if factor * power >= width * (1 - 1e-9)))
