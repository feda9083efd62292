"""Preference groups to token rows, chunk by chunk, in this process or in several.

Costs: one chunk of groups as Python objects, one call of the tokenizer, and nothing that grows with the data.
The preferences' file is mapped anew for each chunk, since a page once read would count as resident memory until
its mapping ends.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datasets import Dataset

from plaudit.preferences.group import PreferenceGroup
from plaudit.preferences.table import SCHEMA, row_to_group
from plaudit.tokens.columns import to_arrow
from plaudit.tokens.keeping import KeepRows
from plaudit.tokens.limits import LengthLimits, LimitedGroup, limit_group
from plaudit.tokens.rendered import render_groups
from plaudit.tokens.rendering import Renderer

__all__ = ["GROUPS_PER_CHUNK", "GroupTokenizer", "token_chunks"]

GROUPS_PER_CHUNK = 1024
"""Groups per Arrow record batch: some MB of ids (assumed)."""

MAX_CHARACTERS_PER_CALL = 1_000_000
"""Characters per call of the tokenizer. A fast one holds about 100 bytes a token while it works, so a call
takes some 30 MB, and more per call is no faster (assumed)."""

CACHE_VERSION = 2
"""Goes up when the same inputs would give other tokens, so that older files are not found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupTokenizer:
    """Rendering and limits as one step from preference groups to outcomes."""

    renderer: Renderer
    """The one rendering."""
    limits: LengthLimits
    """The length limits."""
    keep_without_comparisons: KeepRows = False
    """Which groups in which nothing is compared are kept."""

    def __call__(
        self, groups: Sequence[PreferenceGroup], rows: Sequence[int]
    ) -> list[tuple[int, LimitedGroup]]:
        """For each group, its row in the preference table and what became of it."""
        outcomes: list[tuple[int, LimitedGroup]] = []
        start = 0
        for end in _call_ends(groups):
            outcomes += self._one_call(groups[start:end], rows[start:end])
            start = end
        return outcomes

    def sha256(self) -> str:
        """SHA-256 of everything here that decides the outcome."""
        state = f"{CACHE_VERSION} {self.renderer.sha256()} {self.limits} {self.keep_without_comparisons}"
        return hashlib.sha256(state.encode()).hexdigest()

    def _one_call(
        self, groups: Sequence[PreferenceGroup], rows: Sequence[int]
    ) -> list[tuple[int, LimitedGroup]]:
        leading_ids = self.renderer.leading_ids
        return [
            (
                row,
                limit_group(
                    rendered,
                    self.limits,
                    leading_ids=leading_ids,
                    keep_without_comparisons=self.keep_without_comparisons,
                    source=group.source,
                ),
            )
            for row, group, rendered in zip(
                rows, groups, render_groups(self.renderer, groups, rows), strict=True
            )
        ]


def token_chunks(
    dataset: Dataset, tokenizer: GroupTokenizer, num_proc: int | None = None
) -> Iterator[pa.Table]:
    """Tables of token rows, in the order of the data set.

    Args:
        dataset: Rows of `plaudit.preferences.table.SCHEMA`.
        tokenizer: From preference groups to outcomes.
        num_proc: Worker processes; this process, with the tokenizer's own threads, when None or 1.
    """
    task = _ChunkTask(dataset, tokenizer)
    starts = range(0, len(dataset), GROUPS_PER_CHUNK)
    if num_proc is None or num_proc <= 1:
        yield from map(task, starts)
        return
    # Like `datasets`: forked where the system can, so that a script needs no main guard.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    with context.Pool(num_proc, initializer=_set_task, initargs=(task,)) as pool:
        yield from pool.imap(_run_task, starts)


class _ChunkTask:
    """From the first row of a chunk to its token rows."""

    def __init__(self, dataset: Dataset, tokenizer: GroupTokenizer) -> None:
        self._num_rows = len(dataset)
        self._tokenizer = tokenizer
        # A data set on disk pickles as file names, and opens its files anew.
        self._pickled = pickle.dumps(dataset) if dataset.cache_files else b""
        self._dataset = None if dataset.cache_files else dataset

    def __call__(self, start: int) -> pa.Table:
        rows = range(start, min(start + GROUPS_PER_CHUNK, self._num_rows))
        return to_arrow(self._tokenizer(self._groups(rows), rows))

    def _groups(self, rows: range) -> list[PreferenceGroup]:
        dataset: Dataset = pickle.loads(self._pickled) if self._dataset is None else self._dataset
        table: Any = dataset.with_format("arrow")[rows.start : rows.stop]
        return [row_to_group(row) for row in table.select(SCHEMA.names).to_pylist()]


_task: _ChunkTask | None = None
"""The task of a worker process."""


def _set_task(task: _ChunkTask) -> None:
    global _task
    _task = task
    # One process per core is enough, and threads begun before a fork do not survive it.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _run_task(start: int) -> pa.Table:
    assert _task is not None
    return _task(start)


def _call_ends(groups: Sequence[PreferenceGroup]) -> Iterator[int]:
    """Where to split the groups so that no call of the tokenizer has far too many characters."""
    num_characters = 0
    for index, group in enumerate(groups):
        num_characters += sum(_num_characters(completion) for completion in group.completions)
        num_characters += _num_characters(group.prompt) * (len(group.completions) + 1)
        if num_characters > MAX_CHARACTERS_PER_CALL:
            num_characters = 0
            yield index + 1
    yield len(groups)


def _num_characters(value: Any) -> int:
    return len(value) if isinstance(value, str) else sum(len(str(turn.get("content"))) for turn in value)
