"""The single comparisons that a page carries: numbers in one block, texts in small ones that are unpacked when needed.

A block is JSON, compressed by gzip and written in base64: it stands in a page as it is, whatever the texts hold, and
a browser unpacks it without a library. The same comparison under several models is one row with a reward of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plaudit.evaluation.folder import StoredSuite
from plaudit.report.outputs import ModelOutput, stored_rows
from plaudit.report.text_blocks import MAX_CHARACTERS, TextBlock, TextWriter, pack, turns_of

__all__ = ["MAX_ROWS", "ComparisonData", "comparison_data"]

MAX_ROWS = 20_000
"""Comparisons in a page, unless asked otherwise (measured: docs/report.md)."""

SNIPPET_CHARACTERS = 110
"""Of the prompt in the list."""

ROW_KEY_DIGITS = 12
"""Of a comparison's key in links (derived: 48 bits, a chance of 1e-6 that two of 20,000 agree)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonData:
    """What the browser of single comparisons needs."""

    summary: Mapping[str, Any]
    """Models, suites, subsets and counts: small, and not packed."""
    index: str
    """The columns of all rows by `pack`."""
    blocks: tuple[TextBlock, ...]
    """The texts; none where they were left out."""


def comparison_data(
    models: Sequence[ModelOutput],
    *,
    max_rows: int = MAX_ROWS,
    max_characters: int = MAX_CHARACTERS,
    with_texts: bool = True,
) -> ComparisonData:
    """The comparisons of all models and suites, spread evenly over the data where there are more than ``max_rows``.

    Args:
        models: What `read_outputs` gives.
        max_rows: At most so many comparisons, over all suites.
        max_characters: What a longer text is cut to.
        with_texts: Whether prompts and completions go in, where they were stored.
    """
    names = list(dict.fromkeys(name for model in models for name in model.suites))
    tables = [_SuiteTable.of(name, models) for name in names]
    total = sum(len(table.rows) for table in tables)
    texts = TextWriter(max_characters=max_characters)
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    rewards: list[dict[str, list[float | None]]] = [{"better": [], "worse": []} for _ in models]
    subsets: dict[str, int] = {}
    _tell_suites_apart(tables)
    for number, table in enumerate(tables):
        for row in table.rows[_evenly(len(table.rows), total, max_rows)]:
            _add_row(columns, rewards, subsets, row, number)
            texts.add(row)
    num_rows = len(columns["key"])
    has_texts = with_texts and texts.num_stored > 0
    summary = {
        "models": [model.name for model in models],
        "suites": names,
        "subsets": list(subsets),
        "num_rows": num_rows,
        "num_rows_in_all": total,
        "has_texts": has_texts,
        "texts_left_out": not with_texts,
        "num_texts_cut": texts.num_cut if has_texts else 0,
        "max_characters": max_characters,
    }
    index = pack(columns | {"rewards": rewards})
    return ComparisonData(summary=summary, index=index, blocks=tuple(texts.blocks()) if has_texts else ())


_COLUMNS = ("key", "suite", "subset", "name", "snippet", "tie", "characters_better", "characters_worse")


def _add_row(
    columns: dict[str, list[Any]],
    rewards: list[dict[str, list[float | None]]],
    subsets: dict[str, int],
    row: Mapping[str, Any],
    suite: int,
) -> None:
    subset = row["subset"]
    columns["key"].append(row["key"])
    columns["suite"].append(suite)
    columns["subset"].append(-1 if subset is None else subsets.setdefault(subset, len(subsets)))
    columns["name"].append(_row_name(row))
    columns["snippet"].append(_snippet(row))
    columns["tie"].append(int(row["is_tie"]))
    columns["characters_better"].append(row["num_characters_better"])
    columns["characters_worse"].append(row["num_characters_worse"])
    for model, of_model in enumerate(rewards):
        better, worse = row["rewards"].get(model, (None, None))
        of_model["better"].append(better)
        of_model["worse"].append(worse)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SuiteTable:
    """The comparisons of one suite under every model, each once."""

    rows: np.ndarray
    """object [comparison]: the stored columns, with ``rewards`` by number of the model."""

    @classmethod
    def of(cls, name: str, models: Sequence[ModelOutput]) -> _SuiteTable:
        merged: dict[str, dict[str, Any]] = {}
        for number, model in enumerate(models):
            if name in model.suites:
                _merge(merged, model.suites[name], number)
        rows = np.empty(len(merged), dtype=object)
        rows[:] = list(merged.values())
        return cls(rows=rows)


def _merge(merged: dict[str, dict[str, Any]], suite: StoredSuite, model: int) -> None:
    """Add one model's rows. Where a comparison is in the data twice, its copies stay apart, in their order."""
    seen: Counter[str] = Counter()
    for row in stored_rows(suite).to_pylist():
        key = row["key"][:ROW_KEY_DIGITS]
        seen[key] += 1
        key = key if seen[key] == 1 else f"{key}~{seen[key]}"
        known = merged.setdefault(key, row | {"key": key, "rewards": {}})
        known["rewards"][model] = (_exact(row["reward_better"]), _exact(row["reward_worse"]))
        for text in ("prompt", "text_better", "text_worse"):
            known[text] = row[text] if known[text] is None else known[text]


def _tell_suites_apart(tables: Sequence[_SuiteTable]) -> None:
    """Number the copies of a comparison over all suites: a key is that of one row of the page."""
    seen: Counter[str] = Counter()
    for table in tables:
        for row in table.rows:
            key = row["key"].partition("~")[0]
            seen[key] += 1
            row["key"] = key if seen[key] == 1 else f"{key}~{seen[key]}"


def _exact(reward: float) -> float:
    """The shortest decimal that is this float32: equal rewards stay equal, others differ."""
    return float(str(np.float32(reward)))


def _evenly(num: int, total: int, most: int) -> np.ndarray:
    """Indices of a suite's share of ``most`` rows, from first to last at even distances."""
    share = num if total <= most else max(1, most * num // total) if most else 0
    return np.linspace(0, num - 1, min(share, num)).round().astype(np.int64)


def _row_name(row: Mapping[str, Any]) -> str:
    """The data's own id, else file and line without the folders."""
    return row["id"] or row["source"].rsplit("/", 1)[-1]


def _snippet(row: Mapping[str, Any]) -> str:
    """The end of the prompt, where the question is; nothing where no texts were stored."""
    if row["prompt"] is None:
        return ""
    turns = turns_of(row["prompt"], row["is_conversational"])
    last = turns if isinstance(turns, str) else (turns[-1][1] if turns else "")
    text = " ".join(last[-4 * SNIPPET_CHARACTERS :].split())
    return text if len(text) <= SNIPPET_CHARACTERS else text[: SNIPPET_CHARACTERS - 1] + "…"
