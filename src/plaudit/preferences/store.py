"""Preference groups written to an Arrow file as they come: memory holds one batch, whatever their number."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from plaudit.preferences.collection import Preferences
from plaudit.preferences.report import Tally
from plaudit.preferences.sealing import GroupCounts, Sealed
from plaudit.preferences.table import SCHEMA, with_attribute_names

__all__ = ["TableWriter", "new_table_path", "open_table"]

_MAX_ROWS = 1000
_MAX_BYTES = 8 * 2**20
"""A batch is written at either limit (assumed: large enough to be cheap, small beside a model)."""


class TableWriter:
    """Writes sealed groups to an Arrow file in batches. A context manager; close it before reading."""

    def __init__(self, path: Path, attribute_names: Sequence[str] = ()) -> None:
        self.path = path
        self.counts = GroupCounts(attribute_names)
        self._rows: list[Mapping[str, Any]] = []
        self._num_bytes = 0
        self._file = pa.OSFile(str(path), "wb")
        self._stream = pa.ipc.new_stream(self._file, with_attribute_names(SCHEMA, attribute_names))

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file; a file that an error left unfinished is removed."""
        self.close()
        if kind is not None:
            self.path.unlink(missing_ok=True)

    def add(self, sealed: Sealed) -> None:
        """Take one group."""
        self.counts.add(sealed)
        self._rows.append(sealed.row)
        self._num_bytes += sealed.num_bytes
        if len(self._rows) >= _MAX_ROWS or self._num_bytes >= _MAX_BYTES:
            self._flush()

    def extend(self, groups: Iterable[Sealed]) -> None:
        """Take many groups."""
        for sealed in groups:
            self.add(sealed)

    def close(self) -> None:
        """Write what is left."""
        if self._file.closed:
            return
        self._flush()
        self._stream.close()
        self._file.close()

    def opened(self, tally: Tally) -> Preferences:
        """The written groups, with the report of their reading."""
        report = tally.report(**self.counts.as_counts())
        return Preferences(open_table(self.path), report=report, fingerprint=self.counts.fingerprint)

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = [pa.array([row[field.name] for row in self._rows], type=field.type) for field in SCHEMA]
        self._stream.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        self._rows.clear()
        self._num_bytes = 0


def open_table(path: Path) -> Dataset:
    """The groups of a written file, memory-mapped."""
    return Dataset.from_file(str(path))


def new_table_path(cache_dir: str | Path | None) -> Path:
    """A path for a new table: in ``cache_dir``, or in a folder that goes when the process ends."""
    folder = Path(cache_dir).expanduser() if cache_dir is not None else _temporary_folder(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(suffix=".arrow", prefix="groups-", dir=folder)
    os.close(handle)
    return Path(path)


@cache
def _temporary_folder(process: int) -> Path:
    """One folder a process; a forked child gets its own and leaves its parent's alone."""
    folder = Path(tempfile.mkdtemp(prefix="plaudit-"))
    atexit.register(lambda: os.getpid() == process and shutil.rmtree(folder, ignore_errors=True))
    return folder
