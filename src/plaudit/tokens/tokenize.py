"""`tokenize_preferences`: a table of token groups from a data set, a stream of them from a stream.

A table is written once and found again when the same data meets the same tokenizer, template and limits. Both
ways go through `GroupTokenizer`, so that they hold the same groups and the same report.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import get_temporary_cache_files_directory
from datasets.utils import tqdm

from plaudit.errors import PlauditError
from plaudit.preferences.table import SCHEMA, attribute_names_of
from plaudit.tokens.chunks import GroupTokenizer, token_chunks
from plaudit.tokens.keeping import KeepRows, check_keep
from plaudit.tokens.limits import LengthLimits
from plaudit.tokens.rendering import Renderer
from plaudit.tokens.storage import open_rows, write_rows
from plaudit.tokens.stream import TokenStream
from plaudit.tokens.table import TokenTable

__all__ = ["tokenize_preferences"]


def tokenize_preferences(
    preferences: Any,
    renderer: Renderer,
    limits: LengthLimits | None = None,
    *,
    num_proc: int | None = None,
    keep_rows_without_comparisons: KeepRows = False,
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
            long as one completion is left: True for scoring, ``rated`` for learning from ratings. Learning from
            comparisons has no use for them. Groups with a known attribute are kept in any case.
        cache_dir: Folder of the token file; beside the preferences' own file when None, where one may write.
        progress: Whether a progress bar is shown.

    Raises:
        PlauditError: A record that cannot be rendered, or over-length with the policy `error`, naming its
            source; columns that are missing.
    """
    check_keep(keep_rows_without_comparisons)
    tokenizer = GroupTokenizer(
        renderer=renderer,
        limits=limits or LengthLimits(),
        keep_without_comparisons=keep_rows_without_comparisons,
    )
    if not _is_table(preferences):
        names = getattr(preferences, "attribute_names", ())
        return TokenStream(preferences, tokenizer, tokenizer.limits, names)
    dataset = preferences if isinstance(preferences, Dataset) else preferences.dataset
    _check_columns(dataset)
    names = getattr(preferences, "attribute_names", None) or attribute_names_of(dataset)
    # The same data read again from another file is the same data, where its reader vouches for that.
    identity = getattr(preferences, "fingerprint", "") or dataset._fingerprint
    fingerprint = hashlib.sha256(f"{identity} {tokenizer.sha256()}".encode()).hexdigest()[:32]
    rows = _tokenized(
        dataset, tokenizer, fingerprint, names, num_proc=num_proc, cache_dir=cache_dir, progress=progress
    )
    return TokenTable(rows, tokenizer.limits, attribute_names=names)


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
    attribute_names: Sequence[str],
    *,
    num_proc: int | None,
    cache_dir: str | Path | None,
    progress: bool,
) -> Dataset:
    """The token rows of a data set: found, or written now."""
    path = _token_folder(dataset, cache_dir) / f"tokens-{fingerprint}.arrow"
    if not path.exists():
        with tqdm(
            total=len(dataset), desc="Tokenising", unit=" groups", delay=2, disable=not progress
        ) as bar:
            write_rows(path, _counted(token_chunks(dataset, tokenizer, num_proc), bar), attribute_names)
    return open_rows(path, fingerprint)


def _token_folder(dataset: Dataset, cache_dir: str | Path | None) -> Path:
    """The folder asked for, else that of the data set's file, else a temporary one."""
    if cache_dir is not None:
        return Path(cache_dir)
    for file in dataset.cache_files:
        folder = Path(file["filename"]).parent
        if os.access(folder, os.W_OK):
            return folder
    return Path(get_temporary_cache_files_directory())


def _counted(tables: Iterator[pa.Table], bar: Any) -> Iterator[pa.Table]:
    for table in tables:
        yield table
        bar.update(table.num_rows)
