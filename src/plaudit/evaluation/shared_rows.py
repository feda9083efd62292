"""The comparisons that several stored evaluations share, and those in which their models differ most.

Two rows are the same comparison when prompt, better and worse completion and tools are the same text: when their
keys are equal. Where a file holds a comparison twice, the first meets the first and the second the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from plaudit.evaluation.folder import StoredSuite
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.storage import reading_rows

__all__ = ["NotShared", "RowDifference", "SharedRows", "most_different", "rows_at", "share_rows"]

NAMED = 100
"""Places of comparisons that are not shared which are kept; the count is of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotShared:
    """What one model has and not every other."""

    model: str
    """The model."""
    num: int
    """Its comparisons that at least one other model lacks."""
    sources: tuple[str, ...]
    """Where the first `NAMED` of them were read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedRows:
    """The same comparisons, in the same order, as each model rewarded them."""

    models: tuple[str, ...]
    """The models."""
    rows: tuple[ComparisonRows, ...]
    """For each model its rewards of the shared comparisons."""
    stored: StoredSuite
    """The first model's files: texts and places are read there."""
    index: Int[np.ndarray, " shared"]
    """The comparisons' rows in those files."""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def is_decided(self) -> Bool[np.ndarray, " shared"]:
        """Comparisons that have a better completion in the data of every model."""
        return np.logical_and.reduce([rows.is_decided for rows in self.rows])


@dataclass(frozen=True, kw_only=True, slots=True)
class RowDifference:
    """One comparison that models judge differently."""

    source: str
    """Where it was read."""
    subset: str | None
    """Its subset."""
    id: str | None
    """Its name in the data."""
    margins: tuple[float, ...]
    """For each model reward(better) - reward(worse)."""
    scaled_margins: tuple[float, ...]
    """The same, divided by the root mean square of that model's margins: models have units of their own."""
    prompt: str | None
    """The text, or JSON of messages; None where texts are not stored."""
    text_better: str | None
    """The preferred completion."""
    text_worse: str | None
    """The other one."""


def share_rows(suites: Mapping[str, StoredSuite]) -> tuple[SharedRows, tuple[NotShared, ...]]:
    """Match the rows of one suite under several models.

    Args:
        suites: The suite as each model has it, two or more.
    """
    keys = {model: _numbered_keys(suite) for model, suite in suites.items()}
    in_all = set.intersection(*(set(found) for found in keys.values()))
    first = next(iter(suites))
    order = [key for key in keys[first] if key in in_all]
    index = {model: np.array([found[key] for key in order], dtype=np.int64) for model, found in keys.items()}
    shared = SharedRows(
        models=tuple(suites),
        rows=tuple(suite.rows.select(index[model]) for model, suite in suites.items()),
        stored=suites[first],
        index=index[first],
    )
    return shared, tuple(_not_shared(model, suite, np.sort(index[model])) for model, suite in suites.items())


def most_different(shared: SharedRows, num: int) -> list[RowDifference]:
    """The comparisons whose scaled margins lie furthest apart, those that one model gets right and another wrong first.

    Args:
        shared: The comparisons.
        num: How many at most; ties of the data are left out.
    """
    margins = np.stack([rows.margin for rows in shared.rows])
    scaled = _scaled(margins)
    gap = np.ptp(scaled, axis=0)
    disagree = (margins > 0).any(axis=0) & (margins <= 0).any(axis=0)
    decided = shared.is_decided & (gap > 0)
    ranked = np.lexsort((np.arange(len(shared)), -gap, ~disagree))
    chosen = [int(i) for i in ranked if decided[i]][:num]
    texts = rows_at(shared.stored, shared.index[chosen].tolist(), _PLACE_AND_TEXTS)
    return [
        RowDifference(
            source=text["source"],
            subset=text["subset"],
            id=text["id"],
            margins=tuple(margins[:, i].tolist()),
            scaled_margins=tuple(scaled[:, i].tolist()),
            prompt=text["prompt"],
            text_better=text["text_better"],
            text_worse=text["text_worse"],
        )
        for i, text in zip(chosen, texts, strict=True)
    ]


_PLACE_AND_TEXTS = ("source", "subset", "id", "prompt", "text_better", "text_worse")


def rows_at(suite: StoredSuite, index: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some stored rows, in the order of ``index``; the file is read by row groups, not whole.

    Args:
        suite: Where they are stored.
        index: Their numbers in it.
        columns: Of `storage.ROWS_SCHEMA`.
    """
    found: dict[int, dict[str, Any]] = {}
    wanted = np.unique(np.array(index, dtype=np.int64))
    start = 0
    path = suite.folder / "rows.parquet"
    with reading_rows(path), pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            end = start + file.metadata.row_group(number).num_rows
            inside = wanted[slice(*np.searchsorted(wanted, (start, end)))]
            if len(inside):
                group = file.read_row_group(number, columns=list(columns)).take(inside - start)
                found.update(zip(inside.tolist(), group.to_pylist(), strict=True))
            start = end
    return [found[row] for row in index]


def _numbered_keys(suite: StoredSuite) -> dict[tuple[str, int], int]:
    """The row of each comparison by its key and how often the key was met before."""
    met: dict[str, int] = {}
    rows: dict[tuple[str, int], int] = {}
    column = suite.table("key")["key"]
    for row, key in enumerate(column.to_pylist()):
        met[key] = met.get(key, -1) + 1
        rows[key, met[key]] = row
    return rows


def _not_shared(model: str, suite: StoredSuite, shared: Int[np.ndarray, " shared"]) -> NotShared:
    rest = np.setdiff1d(np.arange(len(suite.rows)), shared, assume_unique=True)
    sources: Sequence[str] = ()
    if len(rest):
        column = suite.table("source")["source"]
        sources = column.take(rest[:NAMED]).to_pylist()
    return NotShared(model=model, num=len(rest), sources=tuple(sources))


def _scaled(margins: Float[np.ndarray, "model comparison"]) -> Float[np.ndarray, "model comparison"]:
    size = np.sqrt(np.mean(margins**2, axis=1, keepdims=True))
    return np.divide(margins, size, out=np.zeros_like(margins), where=size > 0)
