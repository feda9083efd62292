"""The single comparisons that a page carries: numbers in one block, texts in small ones that are unpacked when needed.

A block is JSON, compressed by gzip and written in base64: it stands in a page as it is, whatever the texts hold, and
a browser unpacks it without a library. The same comparison under several models is one row with a reward of each.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plaudit.evaluation.folder import StoredSuite
from plaudit.report.outputs import ModelOutput, stored_rows

__all__ = ["MAX_CHARACTERS", "MAX_ROWS", "ComparisonData", "TextBlock", "comparison_data", "pack", "unpack"]

MAX_ROWS = 20_000
"""Comparisons in a page, unless asked otherwise (measured: docs/report.md)."""

MAX_CHARACTERS = 8_000
"""Of one prompt or completion in a page, unless asked otherwise."""

BLOCK_CHARACTERS = 400_000
"""Text in one block before it is packed (assumed: unpacked in a few hundredths of a second on a phone)."""

SNIPPET_CHARACTERS = 110
"""Of the prompt in the list."""

ROW_KEY_DIGITS = 12
"""Of a comparison's key in links (derived: 48 bits, a chance of 1e-6 that two of 20,000 agree)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextBlock:
    """The texts of some comparisons that follow each other, packed."""

    first: int
    """Index of its first comparison."""
    num_rows: int
    """How many it holds."""
    data: str
    """JSON ``{"texts": [...], "rows": [[prompt, better, worse], ...]}`` by `pack`, rows as indices of texts."""


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
    texts = _TextWriter(max_characters=max_characters)
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


def pack(value: Any) -> str:
    """JSON, compressed by gzip, in base64; the same value gives the same text."""
    plain = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(plain.encode("utf-8", "replace"), 6, mtime=0)).decode("ascii")


def unpack(data: str) -> Any:
    """The inverse of `pack`."""
    return json.loads(gzip.decompress(base64.b64decode(data)))


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
    turns = _turns(row["prompt"], row["is_conversational"])
    last = turns if isinstance(turns, str) else (turns[-1][1] if turns else "")
    text = " ".join(last[-4 * SNIPPET_CHARACTERS :].split())
    return text if len(text) <= SNIPPET_CHARACTERS else text[: SNIPPET_CHARACTERS - 1] + "…"


def _turns(text: str, is_conversational: bool) -> str | list[list[str]]:
    """Plain text as it is; a conversation as [role, text] of each message."""
    if not is_conversational:
        return text
    return [[str(message.get("role", "")), _said(message)] for message in json.loads(text)]


def _said(message: Mapping[str, Any]) -> str:
    """A message's text; where it holds more than text, all of it as JSON."""
    content = message.get("content")
    if isinstance(content, str) and set(message) <= {"role", "content"}:
        return content
    return json.dumps({key: value for key, value in message.items() if key != "role"}, ensure_ascii=False)


class _TextWriter:
    """Gathers texts into blocks. Within a block a text is stored once, however many comparisons show it."""

    def __init__(self, *, max_characters: int) -> None:
        self.max_characters = max_characters
        self.num_stored = 0
        self.num_cut = 0
        self._done: list[TextBlock] = []
        self._first = 0
        self._clear()

    def add(self, row: Mapping[str, Any]) -> None:
        """The three texts of one comparison."""
        self._rows.append([self._index(row[name], row) for name in ("prompt", "text_better", "text_worse")])
        if self._num_characters >= BLOCK_CHARACTERS:
            self._finish_block()

    def blocks(self) -> Iterator[TextBlock]:
        """All blocks; nothing is added afterwards."""
        if self._rows:
            self._finish_block()
        yield from self._done

    def _index(self, text: str | None, row: Mapping[str, Any]) -> int:
        if text is None:
            return -1
        self.num_stored += 1
        known = self._index_of.get(text)
        if known is not None:
            return known
        shown, num_left_out = _cut(_turns(text, row["is_conversational"]), self.max_characters)
        self.num_cut += num_left_out > 0
        self._texts.append([shown, num_left_out] if num_left_out else [shown])
        self._num_characters += min(len(text), self.max_characters)
        self._index_of[text] = len(self._texts) - 1
        return self._index_of[text]

    def _finish_block(self) -> None:
        data = pack({"texts": self._texts, "rows": self._rows})
        self._done.append(TextBlock(first=self._first, num_rows=len(self._rows), data=data))
        self._first += len(self._rows)
        self._clear()

    def _clear(self) -> None:
        self._texts: list[list[Any]] = []
        self._rows: list[list[int]] = []
        self._index_of: dict[str, int] = {}
        self._num_characters = 0


def _cut(turns: str | list[list[str]], most: int) -> tuple[str | list[list[str]], int]:
    """At most so many characters from the start, and how many are left out."""
    if isinstance(turns, str):
        return turns[:most], max(0, len(turns) - most)
    kept, left, num_left_out = [], most, 0
    for role, text in turns:
        kept.append([role, text[:left]])
        num_left_out += max(0, len(text) - left)
        left = max(0, left - len(text))
    return kept, num_left_out
