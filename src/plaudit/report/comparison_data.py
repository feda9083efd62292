"""The single comparisons that a page carries: numbers in one block, texts in small ones that are unpacked when needed.

A block is JSON, compressed by gzip and written in base64: it stands in a page as it is, whatever the texts hold, and
a browser unpacks it without a library. The same comparison under several models is one row with a reward of each.
Rows are chosen by their keys; names and texts are read of the chosen ones alone, `ROWS_AT_A_TIME` of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plaudit.evaluation.folder import StoredSuite
from plaudit.evaluation.shared_rows import rows_at
from plaudit.report.outputs import ROW_COLUMNS, TEXT_COLUMNS, ModelOutput, stored_columns
from plaudit.report.text_blocks import MAX_CHARACTERS, TextBlock, TextWriter, pack, turns_of

__all__ = ["MAX_ROWS", "ComparisonData", "comparison_data"]

MAX_ROWS = 20_000
"""Comparisons in a page, unless asked otherwise (measured: docs/report.md)."""

SNIPPET_CHARACTERS = 110
"""Of the prompt in the list."""

ROW_KEY_DIGITS = 12
"""Of a comparison's key in links (derived: 48 bits, a chance of 1e-6 that two of 20,000 agree)."""


ROWS_AT_A_TIME = 2_000
"""Chosen rows whose texts are held in memory (assumed: some 20 MB)."""


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
    total = sum(len(table) for table in tables)
    texts = TextWriter(max_characters=max_characters)
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    rewards: list[dict[str, list[float | None]]] = [{"better": [], "worse": []} for _ in models]
    subsets: dict[str, int] = {}
    page_keys = _page_keys(tables)
    for number, table in enumerate(tables):
        chosen = _evenly(len(table), total, max_rows)
        columns["key"] += [page_keys[number][i] for i in chosen]
        for row in table.read(chosen, with_texts=with_texts):
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
    """The comparisons of one suite under every model, each once: their keys, and where they are stored."""

    keys: list[str]
    """All comparisons in order of appearance; the second copy of one ends in ``~2``."""
    stored: dict[int, _Stored]
    """By number of the model."""

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, name: str, models: Sequence[ModelOutput]) -> _SuiteTable:
        stored = {i: _Stored.of(model.suites[name]) for i, model in enumerate(models) if name in model.suites}
        return cls(
            keys=list(dict.fromkeys(key for one in stored.values() for key in one.rows)), stored=stored
        )

    def read(self, chosen: np.ndarray, *, with_texts: bool) -> Iterator[dict[str, Any]]:
        """The columns of some comparisons, and ``rewards`` by number of the model."""
        for start in range(0, len(chosen), ROWS_AT_A_TIME):
            keys = [self.keys[i] for i in chosen[start : start + ROWS_AT_A_TIME]]
            found: dict[str, dict[str, Any]] = {}
            for one in self.stored.values():
                one.add_to(found, [key for key in keys if key in one.rows], with_texts=with_texts)
            for key in keys:
                rewards = {i: one.rewards(key) for i, one in self.stored.items() if key in one.rows}
                yield found[key] | {"rewards": rewards}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """One model's rows of a suite, found by key."""

    suite: StoredSuite
    rows: dict[str, int]
    better: np.ndarray
    worse: np.ndarray

    @classmethod
    def of(cls, suite: StoredSuite) -> _Stored:
        rewards = suite.rows
        return cls(
            suite=suite, rows=_numbered_keys(suite), better=rewards.reward_better, worse=rewards.reward_worse
        )

    def rewards(self, key: str) -> tuple[float, float]:
        row = self.rows[key]
        return _exact(self.better[row]), _exact(self.worse[row])

    def add_to(self, found: dict[str, dict[str, Any]], keys: Sequence[str], *, with_texts: bool) -> None:
        """Put in what this file says of comparisons whose columns or texts no other has said."""
        lacking = [key for key in keys if key not in found or (with_texts and found[key]["prompt"] is None)]
        columns = [*ROW_COLUMNS, *(TEXT_COLUMNS if with_texts else ())]
        stored = rows_at(self.suite, [self.rows[key] for key in lacking], columns)
        for key, row in zip(lacking, stored, strict=True):
            known = found.setdefault(key, dict.fromkeys(TEXT_COLUMNS) | row)
            known |= {name: row.get(name) for name in TEXT_COLUMNS if known[name] is None}


def _numbered_keys(suite: StoredSuite) -> dict[str, int]:
    """The row of each comparison. Where one is in the data twice, its copies stay apart, in their order."""
    seen: Counter[str] = Counter()
    rows: dict[str, int] = {}
    for row, whole in enumerate(stored_columns(suite, "key")[0]):
        key = whole[:ROW_KEY_DIGITS]
        seen[key] += 1
        rows[_copy(key, seen[key])] = row
    return rows


def _copy(key: str, number: int) -> str:
    return key if number == 1 else f"{key}~{number}"


def _page_keys(tables: Sequence[_SuiteTable]) -> list[list[str]]:
    """The keys with the copies of a comparison numbered over all suites: a key is that of one row of the page."""
    seen: Counter[str] = Counter()
    numbered: list[list[str]] = []
    for table in tables:
        numbered.append([])
        for key in (key.partition("~")[0] for key in table.keys):
            seen[key] += 1
            numbered[-1].append(_copy(key, seen[key]))
    return numbered


def _exact(reward: float) -> float:
    """The shortest decimal that is this number, as float32 where it is one: equal rewards stay equal, others differ."""
    short = np.float32(reward)
    return float(str(short)) if float(short) == reward else float(reward)


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
