"""Preference groups to token groups: a memory-mapped table from a data set, a stream from a stream.

A table is written once, a chunk of groups at a time, and found again when the same data meets the same
tokenizer, template and limits. Both ways go through `GroupTokenizer`, so that a stream and a table of the
same data hold the same groups and the same report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset, Features
from datasets.fingerprint import get_temporary_cache_files_directory

from plaudit.errors import PlauditError
from plaudit.preferences.group import PreferenceGroup
from plaudit.preferences.table import SCHEMA, row_to_group
from plaudit.tokens.columns import TOKEN_SCHEMA, to_arrow
from plaudit.tokens.limits import LengthLimits, LimitedGroup, limit_group
from plaudit.tokens.rendered import render_groups
from plaudit.tokens.rendering import Renderer
from plaudit.tokens.stream import TokenStream
from plaudit.tokens.table import GROUPS_PER_CHUNK, TokenTable

__all__ = ["GroupTokenizer", "tokenize_preferences"]

MAX_CHARACTERS_PER_CALL = 1_000_000
"""Characters per call of the tokenizer. A fast one holds about 100 bytes a token while it works, so a call
takes some 30 MB, and more per call is no faster (assumed)."""

CACHE_VERSION = 1
"""Goes up when the same inputs would give other tokens, so that older files are not found."""


def tokenize_preferences(
    preferences: Any,
    renderer: Renderer,
    limits: LengthLimits | None = None,
    *,
    num_proc: int | None = None,
    keep_rows_without_comparisons: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> TokenTable | TokenStream:
    """Preference groups as token groups, rendered, limited and counted.

    Args:
        preferences: A `datasets.Dataset` with the columns of `plaudit.preferences.table.SCHEMA`, or an object
            with one as `.dataset`: gives a `TokenTable`. Any other iterable of such rows or of preference
            groups (an `IterableDataset`, a list): gives a `TokenStream`.
        renderer: The one rendering.
        limits: The length limits; none when None.
        num_proc: Worker processes for a table; one process, with the tokenizer's own threads, when None or 1.
        keep_rows_without_comparisons: Keep groups in which nothing is compared, or nothing is any more, as
            long as one completion is left: for scoring and for ratings. Training has no use for them.
        cache_dir: Folder of the token file; beside the preferences' own file when None.
        progress: Whether a progress bar is shown.

    Raises:
        PlauditError: A record that cannot be rendered, or over-length with the policy `error`, naming its
            source; columns that are missing.
    """
    tokenizer = GroupTokenizer(
        renderer=renderer,
        limits=limits or LengthLimits(),
        keep_without_comparisons=keep_rows_without_comparisons,
    )
    if not _is_table(preferences):
        return TokenStream(preferences, tokenizer, tokenizer.limits)
    dataset = preferences if isinstance(preferences, Dataset) else preferences.dataset
    _check_columns(dataset)
    # The same data read again from another file is the same data, where its reader vouches for that.
    identity = getattr(preferences, "fingerprint", "") or dataset._fingerprint
    fingerprint = hashlib.sha256(f"{identity} {tokenizer.sha256()}".encode()).hexdigest()[:32]
    with _progress_bars(progress):
        return TokenTable(_tokenized(dataset, tokenizer, fingerprint, num_proc, cache_dir), tokenizer.limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupTokenizer:
    """Rendering and limits as one step from preference groups to outcomes."""

    renderer: Renderer
    """The one rendering."""
    limits: LengthLimits
    """The length limits."""
    keep_without_comparisons: bool = False
    """Whether groups in which nothing is compared are kept."""

    def __call__(
        self, groups: Sequence[PreferenceGroup], rows: Sequence[int]
    ) -> list[tuple[int, LimitedGroup]]:
        """For each group, its row in the preference table and what became of it."""
        outcomes: list[tuple[int, LimitedGroup]] = []
        start = 0
        for end in _call_ends(groups):
            outcomes += self._one_call(groups[start:end], rows[0:end-start])
            start = end
        return outcomes

    def arrow(self, table: pa.Table, rows: Sequence[int]) -> pa.Table:
        """The same from rows of the preference table to rows of the token table."""
        groups = [row_to_group(row) for row in table.select(SCHEMA.names).to_pylist()]
        return to_arrow(self(groups, rows))

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


def _is_table(preferences: Any) -> bool:
    """Whether there is a data set to index, as opposed to groups or rows that come one after the other."""
    if getattr(preferences, "is_streaming", False):
        return False
    return isinstance(preferences, Dataset) or isinstance(getattr(preferences, "dataset", None), Dataset)


def _check_columns(dataset: Dataset) -> None:
    missing = [name for name in SCHEMA.names if name not in dataset.column_names]
    if missing:
        raise PlauditError(
            f"the data set has no column {', '.join(missing)}; it has {', '.join(dataset.column_names)}",
            where="preferences",
            fix="Read it with plaudit.preferences.read_preferences, which makes preference groups of it.",
        )


def _tokenized(
    dataset: Dataset,
    tokenizer: GroupTokenizer,
    fingerprint: str,
    num_proc: int | None,
    cache_dir: str | Path | None,
) -> Dataset:
    if len(dataset) == 0:
        # `map` leaves an empty data set as it is, columns and all.
        return Dataset(TOKEN_SCHEMA.empty_table())
    return (
        dataset.with_format("arrow")
        .map(
            tokenizer.arrow,
            batched=True,
            batch_size=GROUPS_PER_CHUNK,
            writer_batch_size=GROUPS_PER_CHUNK,
            with_indices=True,
            remove_columns=dataset.column_names,
            features=Features.from_arrow_schema(TOKEN_SCHEMA),
            # One worker process would only be a slower way to do it here.
            num_proc=num_proc if num_proc and num_proc > 1 else None,
            cache_file_name=_cache_file(dataset, fingerprint, cache_dir),
            new_fingerprint=fingerprint,
            desc="Tokenising",
        )
        .with_format(None)
    )


def _cache_file(dataset: Dataset, fingerprint: str, cache_dir: str | Path | None) -> str | None:
    """Where the tokens go; None for beside the file that the data set is in."""
    if cache_dir is None and dataset.cache_files:
        return None
    # A data set in memory has no such file, and `map` would keep the tokens in memory too.
    folder = Path(cache_dir or get_temporary_cache_files_directory())
    return str(folder / f"tokens-{fingerprint}.arrow")


@contextmanager
def _progress_bars(shown: bool) -> Iterator[None]:
    """Silence the progress bars of `datasets`, whose only switch is for the whole process."""
    if shown or datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
