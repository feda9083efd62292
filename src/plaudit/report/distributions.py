"""How margins are spread and how rewards follow length: the numbers under two charts of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from plaudit.evaluation.margins import margin_histogram
from plaudit.evaluation.rows import ComparisonRows

__all__ = ["MAX_POINTS", "length_points", "unequal_margins"]

MAX_POINTS = 800
"""Drawn in a scatter plot (assumed: more hide each other, and each is 100 bytes of the page)."""

NUM_LENGTH_BINS = 10
"""Equally filled bins of length whose mean reward is drawn."""


def unequal_margins(rows: ComparisonRows) -> dict[str, Any]:
    """Counts of decided comparisons with different rewards by margin; 0 is an edge, so no bin mixes right and wrong.

    Returns:
        ``edges`` [bin + 1] in units of reward, ``counts`` [bin], and ``num_equal``: comparisons in no bin.
    """
    margin = rows.margin[rows.is_decided]
    unequal = margin[margin != 0]
    histogram = margin_histogram(unequal)
    return {
        "edges": list(histogram.edges),
        "counts": list(histogram.counts),
        "num_equal": len(margin) - len(unequal),
    }


def length_points(rows: ComparisonRows) -> dict[str, Any]:
    """Rewards of distinct sequences against the tokens of their completions.

    Returns:
        ``points`` [[tokens, reward]] of at most `MAX_POINTS` sequences drawn evenly by chance (seed 0),
        ``num_sequences`` in all, and ``means``: [[mean tokens, mean reward, n]] of `NUM_LENGTH_BINS` bins of all.
    """
    used = np.unique(np.concatenate([rows.better, rows.worse]))
    length = rows.sequence_num_tokens[used].astype(np.float64)
    reward = rows.sequence_reward[used].astype(np.float64)
    drawn = np.arange(len(used))
    if len(used) > MAX_POINTS:
        drawn = np.sort(np.random.default_rng(0).choice(len(used), MAX_POINTS, replace=False))
    points = zip(length[drawn].astype(int).tolist(), reward[drawn].round(5).tolist(), strict=True)
    return {
        "points": [list(point) for point in points],
        "num_sequences": len(used),
        "means": _means_by_length(length, reward),
    }


def _means_by_length(
    length: Float[np.ndarray, " sequence"], reward: Float[np.ndarray, " sequence"]
) -> list[list[float]]:
    if not len(length):
        return []
    edges = np.unique(np.quantile(length, np.linspace(0, 1, NUM_LENGTH_BINS + 1)))
    bin_of = np.clip(np.searchsorted(edges, length, side="right") - 1, 0, max(len(edges) - 2, 0))
    return [
        [float(length[is_in].mean()), float(reward[is_in].mean()), int(is_in.sum())]
        for is_in in (bin_of == b for b in np.unique(bin_of))
    ]
