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
from plaudit.preferences.report import Tally
from plaudit.preferences.sealing import Sealed, seal_row
from plaudit.preferences.store import TableWriter, new_table_path

__all__ = ["merge_by_prompt", "write_merged"]

_ROWS_PER_BATCH = 256
_COMPARISON_COLUMNS = ("better", "worse", "margin", "weight", "is_tie")
_CONTRADICTIONS = "contradictions"
_RATED_TWICE = "prompts with a completion that is rated differently in two records; the first rating was kept"
_SELF_TIES = "prompts with a tie of a completion with itself, which was left out"


def merge_by_prompt(preferences: Preferences, *, cache_dir: str | Path | None = None) -> Preferences:
    """One group for each distinct prompt, tools, template arguments and subset.

    Identical completions become one, and every comparison is kept, contradicting ones too: they are counted.
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
    with TableWriter(path) as writer:
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
    merged["ratings"] = _merge_ratings(rows, places, found)
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
) -> list[float | None] | None:
    ratings: list[float | None] = [None] * len(places)
    differs = False
    for row in rows:
        for text, rating in zip(row["completions"], row["ratings"] or [], strict=False):
            place = places[text]
            differs |= rating is not None and ratings[place] not in (None, rating)
            ratings[place] = rating if ratings[place] is None else ratings[place]
    found[_RATED_TWICE] += differs
    return None if all(rating is None for rating in ratings) else ratings


def _num_contradictions(row: dict[str, Any]) -> int:
    """Pairs of completions of which each was judged better than the other at least once."""
    judged = {
        (better, worse)
        for better, worse, is_tie in zip(row["better"], row["worse"], row["is_tie"], strict=True)
        if not is_tie
    }
    return sum((worse, better) in judged for better, worse in judged) // 2
