"""CSV, TSV and Parquet files, and `datasets` objects, as records.

A cell of CSV is text. In the columns that hold structures or numbers it is decoded; a prompt or completion is
decoded only where it is JSON of messages, so that an answer such as "[1, 2]" stays the text that it is.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from plaudit.errors import PlauditError
from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.sources.item import BLANK, Items, Position
from plaudit.preferences.sources.lines import MAX_BYTES_PER_RECORD, bad_utf8, numbered_lines, open_bytes

__all__ = ["read_csv", "read_dataset", "read_iterable", "read_parquet"]

ROWS_PER_BATCH = 256
"""Rows decoded at a time (assumed: a few megabytes of text)."""

_STRUCTURES = ("completions", "ratings", "scores", "ranks", "samples", "history", "conversations", "messages")
_TEXTS = ("prompt", "chosen", "rejected", "context", "response")
_NUMBERS = (
    *("margin", "weight", "score_chosen", "score_rejected"),
    *("chosen_score", "rejected_score", "chosen_rating", "rejected_rating"),
)


def read_csv(path: Path, position: Position, *, delimiter: str, columns: Mapping[str, str]) -> Items:
    """The rows of a CSV file with a header, each numbered by its first line in the file."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_BYTES_PER_RECORD))
    ours = {theirs: name for name, theirs in columns.items()}
    troubles: list[tuple[int, BadRecord]] = []
    rows = csv.reader(_decoded(numbered_lines(path, position), troubles), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    first_line = 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield first_line, _broken_csv(str(error))
            if rows.line_num < first_line:  # pragma: no cover - the reader made no progress
                return
            first_line = rows.line_num + 1
            continue
        if row is None:
            yield from troubles
            return
        if header is None and row:
            header = row
        elif header is not None:
            yield first_line, _csv_record(row, header, ours)
        first_line = rows.line_num + 1


def read_parquet(path: Path, position: Position) -> Items:
    """The rows of a Parquet file, numbered from 0.

    Raises:
        PlauditError: The file is no Parquet.
    """
    if path.suffix.lower() in (".gz", ".zst"):
        yield from _read_compressed_parquet(path, position)
        return
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
                for row in _rows(batch):
                    yield number, row
                    number += 1
    except (pa.ArrowInvalid, OSError) as error:
        raise PlauditError(
            f"the file cannot be read as Parquet ({error})", where=str(path), fix="Fetch or write it anew."
        ) from error


def read_dataset(dataset: Dataset) -> Items:
    """The rows of a data set, numbered from 0."""
    number = 0
    for batch in dataset.with_format(None).iter(batch_size=ROWS_PER_BATCH):
        columns: Mapping[str, list[Any]] = dict(batch)
        for values in zip(*columns.values(), strict=True):
            yield number, dict(zip(columns, values, strict=True))
            number += 1


def read_iterable(records: Iterable[Any]) -> Items:
    """The records of any iterable, numbered from 0."""
    yield from enumerate(records)


def _decoded(
    lines: Iterator[tuple[int, bytes | BadRecord]], troubles: list[tuple[int, BadRecord]]
) -> Iterator[str]:
    for number, line in lines:
        if isinstance(line, BadRecord):
            troubles.append((number, line))
            return
        yield line.decode("utf-8", errors="surrogateescape")


def _csv_record(row: list[str], header: list[str], ours: Mapping[str, str]) -> Any:
    if not row:
        return BLANK
    if len(row) != len(header):
        return _broken_csv(f"{len(row)} cells under a header of {len(header)}")
    try:
        "".join(row).encode("utf-8")
    except UnicodeEncodeError:
        raw = ",".join(row).encode("utf-8", errors="surrogateescape")
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            return bad_utf8(error, raw)
    return {name: _cell(ours.get(name, name), cell) for name, cell in zip(header, row, strict=True)}


def _cell(name: str, text: str) -> Any:
    if name in _TEXTS:
        return _messages(text)
    if not text:
        return None
    if name in _NUMBERS:
        return _number(text)
    return _json(text) if name in _STRUCTURES else text


def _messages(text: str) -> Any:
    if not text.startswith(("[{", "[ {", '{"role"', '{"from"')):
        return text
    value = _json(text)
    first = value[0] if isinstance(value, list) and value else value
    return value if isinstance(first, dict) and ("role" in first or "from" in first) else text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # refused later, by its key


def _broken_csv(what: str) -> BadRecord:
    return BadRecord(
        "broken-csv", what, 'Quote cells that hold quotes, commas or line breaks: "He said ""yes""".'
    )


def _rows(batch: pa.RecordBatch) -> list[Any]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [_row(batch, index) for index in range(batch.num_rows)]


def _row(batch: pa.RecordBatch, index: int) -> Any:
    try:
        return batch.slice(index, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        return BadRecord(
            "bad-utf8", f"a text of the row is not UTF-8 ({error})", "Write the file anew.", excerpt=""
        )


def _read_compressed_parquet(path: Path, position: Position) -> Items:
    """Parquet is read from its end, so that a compressed one is unpacked to a temporary file first."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as unpacked:
        try:
            with open_bytes(path, position) as file:
                while chunk := file.read(2**20):
                    unpacked.write(chunk)
        except OSError as error:
            raise PlauditError(
                f"the file cannot be decompressed ({error})",
                where=str(path),
                fix="Fetch or compress it anew.",
            ) from error
        unpacked.flush()
        yield from read_parquet(Path(unpacked.name), Position())
