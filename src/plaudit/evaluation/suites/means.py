"""Means over parts of a suite, and weighted sums of them, with intervals that know which items share a prompt.

A *cell* is a named mean over some items: the accuracy on one subset, one entry of a matrix. Every score of every
suite here is a cell or a linear combination of cells.

Intervals: of one cell, Wilson's where its numbers are shares and no two of its items have a prompt in common,
else the bootstrap over prompts (see `plaudit.objective.intervals`). Of a combination, the percentile bootstrap over
the prompts of all cells at once: a prompt that several subsets share is drawn into all of them together. Weights
are constants, so the sizes of the subsets are not part of what varies. Where every item of every cell agrees,
resampling has nothing to say; Wilson's interval for the effective number of prompts, 1 / sum(weight^2 / prompts),
stands in.

Source: A. C. Davison and D. V. Hinkley, 1997, Bootstrap Methods and their Application, sections 2.4 and 3.8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from plaudit.evaluation.suites.scores import NamedScore
from plaudit.objective.intervals import (
    NUM_RESAMPLES,
    Interval,
    mean_estimate,
    percentile_interval,
    proportion_estimate,
    wilson_interval,
)

__all__ = ["Cells"]

_MAX_COUNTS_AT_ONCE = 4_000_000
"""Entries of the matrix of draws held at a time: 32 MB (derived: 8 bytes each)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cell:
    values: Float[np.ndarray, " item"]
    clusters: Int[np.ndarray, " item"]

    @property
    def mean(self) -> float:
        return float(self.values.mean()) if len(self.values) else math.nan


class Cells:
    """Named means over items, and what can be made of them.

    >>> cells = Cells()
    >>> cells.add("easy", [1.0, 1.0, 0.0, 1.0], [0, 1, 2, 3])
    >>> cells.add("hard", [0.0, 1.0], [4, 5])
    >>> cells.mean("easy"), cells.combination({"easy": 0.5, "hard": 0.5})
    (0.75, 0.625)
    """

    def __init__(self, *, seed: int = 0) -> None:
        self._cells: dict[str, _Cell] = {}
        self._seed = seed
        self._resampled: dict[str, np.ndarray] | None = None

    def add(
        self, name: str, values: Sequence[float] | np.ndarray, clusters: Sequence[int] | np.ndarray
    ) -> None:
        """A cell.

        Args:
            name: Must be new.
            values: One number an item, in [0, 1] as a rule.
            clusters: The prompt of each item.
        """
        assert name not in self._cells, name
        self._resampled = None
        self._cells[name] = _Cell(
            values=np.asarray(values, dtype=np.float64), clusters=np.asarray(clusters, dtype=np.int64)
        )

    def num_items(self, *names: str) -> int:
        """Items in these cells together; 0 for a cell that is not there."""
        return sum(len(self._cells[name].values) for name in names if name in self._cells)

    def mean(self, name: str) -> float:
        """The mean of a cell; NaN where it has no items or is not there."""
        return self._cells[name].mean if name in self._cells else math.nan

    def combination(self, weights: Mapping[str, float]) -> float:
        """Sum of weight times mean; NaN where a cell has no items."""
        return math.fsum(weight * self.mean(name) for name, weight in weights.items())

    def score_cell(
        self, cell: str, *, rule: str, kind: str = "subset", name: str | None = None, note: str | None = None
    ) -> NamedScore:
        """One cell as a score, under its own name unless another is given."""
        found = self._cells.get(cell)
        name = cell if name is None else name
        if found is None or not len(found.values):
            return NamedScore(
                name=name, value=math.nan, num_items=0, kind=kind, rule=rule, note=note or "no items"
            )
        is_share = found.values.min() >= 0.0 and found.values.max() <= 1.0
        estimate = (proportion_estimate if is_share else mean_estimate)(
            found.values, found.clusters, seed=self._seed
        )
        return NamedScore(
            name=name,
            value=found.mean,
            num_items=estimate.n,
            kind=kind,
            rule=rule,
            note=note,
            **_interval_fields(estimate.interval),
        )

    def score_combination(
        self,
        name: str,
        weights: Mapping[str, float],
        *,
        rule: str,
        kind: str = "average",
        note: str | None = None,
        num_items: int | None = None,
    ) -> NamedScore:
        """A linear combination as a score.

        Args:
            name: Of the score.
            weights: Of each cell; they need not add up to 1.
            rule: How it is computed.
            kind: Of the score.
            note: What is odd about it.
            num_items: Items behind it, where cells overlap; the sum of the cells' otherwise.
        """
        count = self.num_items(*weights) if num_items is None else num_items
        value = self.combination(weights) if weights else math.nan
        interval = self._interval(weights, value) if math.isfinite(value) else {}
        return NamedScore(
            name=name,
            value=value,
            num_items=count if math.isfinite(value) else 0,
            kind=kind,
            rule=rule,
            note=note,
            **interval,
        )

    def _interval(self, weights: Mapping[str, float], value: float) -> dict[str, Any]:
        cells = {name: self._cells[name] for name in weights}
        if all(np.ptp(cell.values) == 0 for cell in cells.values()):
            return _interval_fields(_wilson_of_effective(cells, weights, value))
        if self._resampled is None:
            self._resampled = _resample(self._cells, self._seed)
        means = np.sum([weight * self._resampled[name] for name, weight in weights.items()], axis=0)
        # A resample that misses all prompts of a cell has no value: with ten prompts one in 20,000.
        return _interval_fields(percentile_interval(means[np.isfinite(means)]))


def _resample(cells: Mapping[str, _Cell], seed: int) -> dict[str, Float[np.ndarray, " resample"]]:
    """The mean of every cell in each resample of all prompts, NaN where it drew none of the cell's."""
    filled = {name: cell for name, cell in cells.items() if len(cell.values)}
    prompts = np.unique(np.concatenate([cell.clusters for cell in filled.values()]))
    sums, sizes = np.zeros((2, len(prompts), len(filled)))
    for j, cell in enumerate(filled.values()):
        row = np.searchsorted(prompts, cell.clusters)
        sums[:, j] = np.bincount(row, weights=cell.values, minlength=len(prompts))
        sizes[:, j] = np.bincount(row, minlength=len(prompts))
    steps = []
    for times in _draws(len(prompts), seed):
        size = times @ sizes
        steps.append((times @ sums) / np.where(size > 0, size, np.nan))
    return dict(zip(filled, np.concatenate(steps).T, strict=True))


def _draws(num_prompts: int, seed: int) -> Iterator[Float[np.ndarray, "resample prompt"]]:
    """How often each prompt is drawn in each resample, some resamples at a time."""
    random = np.random.default_rng(seed)
    step = max(1, _MAX_COUNTS_AT_ONCE // num_prompts)
    for start in range(0, NUM_RESAMPLES, step):
        num = min(step, NUM_RESAMPLES - start)
        drawn = random.integers(0, num_prompts, size=(num, num_prompts), dtype=np.int32)
        place = drawn + num_prompts * np.arange(num, dtype=np.int64)[:, None]
        times = np.bincount(place.ravel(), minlength=num * num_prompts)
        yield times.reshape(num, num_prompts).astype(np.float64)


def _wilson_of_effective(cells: Mapping[str, _Cell], weights: Mapping[str, float], value: float) -> Interval:
    """For cells in which nothing varies: 0 or 1 everywhere, or some of them all right and others all wrong."""
    total = math.fsum(weights.values())
    spread = math.fsum(
        (weights[name] / total) ** 2 / len(np.unique(cell.clusters)) for name, cell in cells.items()
    )
    share = value / total
    if not 0.0 <= share <= 1.0:
        return Interval(low=math.nan, high=math.nan, method="none", reason="not a proportion")
    num_prompts = max(1, math.floor(1 / spread))
    wilson = wilson_interval(share * num_prompts, num_prompts)
    return Interval(low=wilson.low * total, high=wilson.high * total, method="wilson over prompts")


def _interval_fields(interval: Interval) -> dict[str, Any]:
    if not math.isfinite(interval.low):
        return {}
    return {"low": interval.low, "high": interval.high, "interval": interval.method}
