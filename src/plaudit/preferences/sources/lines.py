"""JSON lines, plain or compressed: one line in memory at a time, each with its exact number.

A line that cannot be decoded is an item of its own, and reading goes on behind it. Only a truncated archive
ends the file early, and says so.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError
from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.sources.compressed import DECOMPRESSORS, Decompressed
from plaudit.preferences.sources.item import BLANK, Items, Position

__all__ = ["MAX_BYTES_PER_RECORD", "decode_json", "numbered_lines", "open_bytes", "read_json_lines"]

MAX_BYTES_PER_RECORD = 256 * 2**20
"""Bytes of one line or array element (assumed: no preference record is longer; it bounds memory)."""

_BUFFER_BYTES = 2**20
_BOM = b"\xef\xbb\xbf"


def read_json_lines(path: Path, position: Position) -> Items:
    """The records of a file of JSON lines."""
    for number, line in numbered_lines(path, position):
        yield number, _decode_line(line) if isinstance(line, bytes) else line


def numbered_lines(path: Path, position: Position) -> Iterator[tuple[int, bytes | BadRecord]]:
    """The lines of a file from 1, without a byte-order mark; or why a line cannot be had."""
    number = 0
    with open_bytes(path, position) as file:
        while True:
            number += 1
            try:
                line = file.readline(MAX_BYTES_PER_RECORD)
            except (OSError, EOFError) as error:
                yield number, cut_off(error)
                return
            if not line:
                return
            if len(line) == MAX_BYTES_PER_RECORD and not line.endswith(b"\n"):
                yield number, _too_long(file, line)
                continue
            yield number, line[3:] if number == 1 and line.startswith(_BOM) else line


def open_bytes(path: Path, position: Position) -> io.BufferedIOBase:
    """The file's bytes, decompressed by the ending of its name.

    Raises:
        PlauditError: The file cannot be opened.
    """
    try:
        raw = io.BufferedReader(io.FileIO(path), _BUFFER_BYTES)
    except OSError as error:
        raise PlauditError(
            f"the file cannot be opened ({error.strerror})",
            where=str(path),
            fix="Check the path and its rights.",
        ) from error
    position.tell = lambda: 0 if raw.closed else raw.tell()
    make = DECOMPRESSORS.get(path.suffix.lower())
    return raw if make is None else io.BufferedReader(Decompressed(raw, make), _BUFFER_BYTES)


def decode_json(text: str) -> Any:
    """The value of one JSON text.

    Raises:
        BadRecord: ``broken-json``, ``duplicate-key``.
    """
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise broken_json(text, error) from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of over 4,300 digits; brackets nested thousands deep
        raise BadRecord(
            "broken-json",
            f"the JSON cannot be read: {error}",
            "Mend or remove the line.",
            excerpt=text[:1000],
        ) from error


def broken_json(text: str, error: json.JSONDecodeError) -> BadRecord:
    """What is wrong with the JSON, with the characters around it."""
    message = error.msg[0].lower() + error.msg[1:]
    if text[: error.pos].rstrip().endswith(","):
        message += " (a trailing comma?)"
    near = text[max(error.pos - 20, 0) : error.pos + 20]
    fix = "Write one JSON object on each line."
    if text.lstrip()[:1] == "[" and error.lineno == 1:
        fix += " (A file that is one JSON array is named .json.)"
    what = f"{message} at character {error.pos + 1:,}, near {near!r}"
    return BadRecord("broken-json", what, fix, excerpt=shorten(text, 1000))


def cut_off(error: Exception) -> BadRecord:
    """The file cannot be read from here on."""
    return BadRecord(
        "cut-off", f"the rest of the file cannot be read: {error}", "Fetch or compress the file anew."
    )


def bad_utf8(error: UnicodeDecodeError, line: bytes) -> BadRecord:
    """The bytes are not UTF-8."""
    hint = " (it looks like UTF-16)" if line[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    return BadRecord(
        "bad-utf8",
        f"byte {error.start + 1:,} of the line is 0x{line[error.start]:02x}, which is not UTF-8{hint}",
        "Convert the file: iconv -f <its encoding> -t utf-8.",
        excerpt=line[:1000].decode("utf-8", errors="replace"),
    )


def _decode_line(line: bytes) -> Any:
    try:
        text = line.decode("utf-8")
        if text.isspace():
            return BLANK
        return decode_json(text)
    except UnicodeDecodeError as error:
        return bad_utf8(error, line)
    except BadRecord as bad:
        return bad


def _too_long(file: io.BufferedIOBase, start: bytes) -> BadRecord:
    """Read to the end of an overlong line, so that the next one is whole."""
    num_bytes = len(start)
    while chunk := file.readline(_BUFFER_BYTES):
        num_bytes += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return BadRecord(
        "line-too-long",
        f"the line has {num_bytes:,} bytes, more than {MAX_BYTES_PER_RECORD:,}",
        "Write one record on each line.",
        excerpt=start[:1000].decode("utf-8", errors="replace"),
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise BadRecord("duplicate-key", f"the key {doubled!r} is there twice", "Keep one of the two.")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=_object)
"""Decodes as `json.loads`, but refuses an object that names a key twice."""
