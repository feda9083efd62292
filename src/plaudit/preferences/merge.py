"""Records of one prompt merged into one group, so that a step holds all comparisons of a prompt.

The InstructGPT way (arXiv:2203.02155, section 3.5). The groups are on disk already; memory holds one number a
record and one batch. Groups come in the order in which their prompts first appeared.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from plaudit.preferences.collection import Preferences
from plaudit.preferences.formats.distinct import mean_of_known
from plaudit.preferences.report import Tally
from plaudit.preferences.sealing import Sealed, seal_row
from plaudit.preferences.store import TableWriter, new_table_path

__all__ = ["merge_by_prompt", "write_merged"]

_ROWS_PER_BATCH = 256
_COMPARISON_COLUMNS = ("better", "worse", "margin", "weight", "is_tie")
_CONTRADICTIONS = "contradictions"
_RATED_TWICE = "prompts with a completion that is rated differently in two records; it has the mean"
_SELF_TIES = "prompts with a tie of a completion with itself, which was left out"


def merge_by_prompt(preferences: Preferences, *, cache_dir: str | Path | None = None) -> Preferences:
    """One group for each distinct prompt, tools, template arguments and subset.

    Identical completions become one, and every comparison is kept, contradicting ones too: they are counted. A
    completion that was rated several times has the mean of its ratings, and of each of its attributes.
    A merged group has the id and source of its first record.

    >>> from plaudit.preferences import read_preferences
    >>> pairs = [{"prompt": "p", "chosen": a, "rejected": b} for a, b in ("xy", "yz", "yx")]
    >>> merged = merge_by_prompt(read_preferences(pairs))
    >>> merged[0].completions, merged.report.num_comparisons, merged.report.num_contradictions
    (('x', 'y', 'z'), 3, 1)
    """
    return write_merged(preferences, new_table_path(cache_dir))


def write_merged(preferences: Preferences, path: Path) -> Preferences:
    """`merge_by_prompt` into a given file."""
    found: Counter[str] = Counter()
    with TableWriter(path, preferences.attribute_names) as writer:
        writer.extend(_merged(preferences.dataset, found))
    merged = writer.opened(Tally())
    notes = {note: number for note, number in found.items() if note != _CONTRADICTIONS and number}
    report = replace(
        preferences.report,
        num_groups=merged.report.num_groups,
        num_comparisons=merged.report.num_comparisons,
        num_ties=merged.report.num_ties,
        num_without_comparison=merged.report.num_without_comparison,
        num_contradictions=found[_CONTRADICTIONS],
        notes={**preferences.report.notes, **notes},
    )
    return Preferences(merged.dataset, report=report, fingerprint=merged.fingerprint)


def _merged(dataset: Dataset, found: Counter[str]) -> Iterator[Sealed]:
    keys = _group_numbers(dataset)
    order = np.argsort(keys, kind="stable")
    numbered = zip(keys[order].tolist(), _rows(dataset, order), strict=True)
    for _, rows in groupby(numbered, key=lambda pair: pair[0]):
        yield seal_row(_merge([row for _, row in rows], found))


def _group_numbers(dataset: Dataset) -> np.ndarray:
    """int64 [num_rows]: the number of each row's prompt, in order of first appearance."""
    numbers: dict[bytes, int] = {}
    found = np.empty(len(dataset), dtype=np.int64)
    columns = dataset.select_columns(["prompt", "tools", "chat_template_kwargs", "subset"])
    for index, row in enumerate(_rows(columns, np.arange(len(dataset)))):
        key = "\x1f".join(f"{value is None}{value}" for value in row.values())
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        found[index] = numbers.setdefault(digest, len(numbers))
    return found


def _rows(dataset: Dataset, order: np.ndarray) -> Iterator[dict[str, Any]]:
    for start in range(0, len(order), _ROWS_PER_BATCH):
        batch: dict[str, list[Any]] = dataset[order[start : start + _ROWS_PER_BATCH].tolist()]
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def _merge(rows: list[dict[str, Any]], found: Counter[str]) -> dict[str, Any]:
    if len(rows) == 1:
        return rows[0]
    places: dict[str, int] = {}
    merged = rows[0] | {name: [] for name in _COMPARISON_COLUMNS}
    for row in rows:
        index = [places.setdefault(text, len(places)) for text in row["completions"]]
        _add_comparisons(merged, row, index, found)
    merged["completions"] = list(places)
    merged["ratings"], merged["attributes"] = _merge_ratings(rows, places, found)
    found[_CONTRADICTIONS] += _num_contradictions(merged)
    return merged


def _add_comparisons(
    merged: dict[str, Any], row: dict[str, Any], index: Sequence[int], found: Counter[str]
) -> None:
    for better, worse, *rest in zip(*(row[name] for name in _COMPARISON_COLUMNS), strict=True):
        if index[better] == index[worse]:
            found[_SELF_TIES] += 1
            continue
        values = (index[better], index[worse], *rest)
        for name, value in zip(_COMPARISON_COLUMNS, values, strict=True):
            merged[name].append(value)


def _merge_ratings(
    rows: list[dict[str, Any]], places: dict[str, int], found: Counter[str]
) -> tuple[list[float | None] | None, list[list[float | None]] | None]:
    """Ratings and attributes of each distinct completion: the means of what the rows say, None for nothing."""
    by_name = (_merge_column(rows, "ratings", places), _merge_column(rows, "attributes", places))
    found[_RATED_TWICE] += any(differs for _, differs in by_name)
    ratings, attributes = (values for values, _ in by_name)
    return None if ratings is None else [rating for (rating,) in ratings], attributes


def _merge_column(
    rows: list[dict[str, Any]], name: str, places: dict[str, int]
) -> tuple[list[list[float | None]] | None, bool]:
    """For each place its merged numbers; and whether two rows differ about one."""
    given: list[list[Sequence[float | None]]] = [[] for _ in places]
    for row in rows:
        for text, values in zip(row["completions"], row[name] or [], strict=False):
            given[places[text]].append(values if isinstance(values, list) else [values])
    width = max((len(values) for of_place in given for values in of_place), default=0)
    differs = any(len(set(numbers) - {None}) > 1 for of in given for numbers in zip(*of, strict=True))
    merged = [[mean_of_known(n) for n in zip(*of_place, strict=True)] or [None] * width for of_place in given]
    return (merged if any(n is not None for values in merged for n in values) else None), differs


def _num_contradictions(row: dict[str, Any]) -> int:
    """Pairs of completions of which each was judged better than the other at least once."""
    judged = {
        (better, worse)
        for better, worse, is_tie in zip(row["better"], row["worse"], row["is_tie"], strict=True)
        if not is_tie
    }
    return sum((worse, better) in judged for better, worse in judged) // 2
