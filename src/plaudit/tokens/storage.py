"""Token rows in an Arrow file: written whole or not at all, read back without keeping the file in memory.

A page of a mapped file counts as resident memory once it was read, so an epoch over a large file would seem to
take all of it. Here the pages are given back after some hundred reads; the kernel keeps them cached as long as
nobody else needs the memory.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from plaudit.preferences.table import with_attribute_names
from plaudit.tokens.columns import TOKEN_SCHEMA, TokenRows
from plaudit.tokens.group import TokenGroup

__all__ = ["MappedRows", "open_rows", "write_rows"]

READS_PER_RELEASE = 512
"""Groups read before their pages are given back. A read maps some 64 KiB around each of at most four places, so
about 128 MiB are resident at most (derived)."""


def write_rows(path: Path, tables: Iterable[pa.Table], attribute_names: Sequence[str] = ()) -> str:
    """Write tables of `TOKEN_SCHEMA` to one file, which appears under its name only when it is whole.

    Args:
        path: Of the file.
        tables: Its rows.
        attribute_names: What the columns of `TokenGroup.attributes` are called; kept in the file's schema.

    Returns:
        SHA-256 of the content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    digest = hashlib.sha256("\x1f".join(attribute_names).encode())
    schema = with_attribute_names(TOKEN_SCHEMA, attribute_names)
    try:
        with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for table in tables:
                for batch in table.combine_chunks().to_batches():
                    digest.update(memoryview(batch.serialize()))
                    writer.write_batch(batch)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()


def open_rows(path: Path, fingerprint: str) -> Dataset:
    """The rows of a written file as a data set with the given fingerprint."""
    dataset = Dataset.from_file(str(path))
    dataset._fingerprint = fingerprint
    return dataset


class MappedRows:
    """Token groups of a data set by row.

    Args:
        dataset: Rows of `TOKEN_SCHEMA`, in the order of their file or in memory.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._map: mmap.mmap | None = None
        self._num_reads = 0
        table = dataset.data.table
        files = [Path(file["filename"]) for file in dataset.cache_files]
        if len(files) == 1:
            mapped, own = _map_file(files[0])
            # A data set may be a part of its file; then its own mapping is used.
            if own.num_rows == table.num_rows:
                self._map, table = mapped, own
        self._rows = TokenRows(table)

    def group(self, index: int) -> TokenGroup:
        """The token group of one row, its arrays copies."""
        group = self._rows.group(index)
        self._num_reads += 1
        if self._map is not None and self._num_reads % READS_PER_RELEASE == 0:
            _release(self._map)
        return group


def _map_file(path: Path) -> tuple[mmap.mmap, pa.Table]:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return mapped, pa.ipc.open_stream(pa.BufferReader(pa.py_buffer(mapped))).read_all()


def _release(mapped: mmap.mmap) -> None:
    """Give the pages back; a later read of the same place brings them in again from the file."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
