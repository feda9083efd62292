"""A ``.json`` file: an array of records, decoded element by element, or JSON lines under that name.

Memory holds one element and one chunk of text, so that an array of any size can be read. Behind an element
that is not JSON there is no telling where the next begins: the rest of the file is reported as cut off.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from pathlib import Path

from plaudit.errors import PlauditError
from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.sources.item import Item, Items, Position
from plaudit.preferences.sources.lines import DECODER, MAX_BYTES_PER_RECORD, broken_json, cut_off, open_bytes

__all__ = ["is_json_array", "read_json_array"]

_CHUNK_BYTES = 2**20
_SPACE = " \t\n\r"
# A value that is only cut by the end of a chunk fails within its last token, which is this short unless it is
# a string ("-Infinity", an escape; derived).
_LONGEST_TOKEN = 16
_NUMBER_GOES_ON = ("", ".", "e", "E")
"""A number before one of these may be the beginning of a longer one."""


def is_json_array(path: Path) -> bool:
    """Whether the file is an array rather than JSON lines, by its first character.

    Raises:
        PlauditError: It is one object over several lines, in which no records can be told apart.
    """
    try:
        with open_bytes(path, Position()) as file:
            start = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError:
        return False  # the reader of lines names the broken archive and its place
    first_line = start.split(b"\n", 1)[0].strip()
    if first_line == b"{":
        raise PlauditError(
            "the file is one JSON object over several lines, not an array of records",
            where=str(path),
            fix="Write the records as JSON lines, such as with: jq -c '.data[]' file.json > file.jsonl.",
        )
    return start[:1] == b"["


def read_json_array(path: Path, position: Position) -> Items:
    """The elements of the array, numbered from 0."""
    with open_bytes(path, position) as file:
        text = _Text(file)
        try:
            yield from _elements(text)
        except (OSError, EOFError) as error:
            yield text.num_elements, cut_off(error)


class _Text:
    """The part of the file's text that is not decoded yet."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._chunk_bytes = _CHUNK_BYTES
        # A byte that is not UTF-8 becomes a lone surrogate, found again in the element that holds it.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.buffer = ""
        self.start = 0
        self.num_elements = 0

    def grow(self) -> bool:
        """Add a chunk, each twice as long while one element lasts; whether there was any."""
        chunk = self._file.read(self._chunk_bytes)
        self.buffer = self.buffer[self.start :] + self._decoder.decode(chunk, final=not chunk)
        self.start = 0
        self._chunk_bytes *= 2
        return bool(chunk)

    def settle(self) -> None:
        """An element was found: chunks are short again."""
        self._chunk_bytes = _CHUNK_BYTES

    def next_character(self) -> str:
        """The next character that is no white space, "" at the end; it stays in the buffer."""
        while True:
            while self.start < len(self.buffer):
                if self.buffer[self.start] not in _SPACE:
                    return self.buffer[self.start]
                self.start += 1
            if not self.grow():
                return ""


def _elements(text: _Text) -> Iterator[Item]:
    text.next_character()
    text.start += 1  # the opening bracket, which `is_json_array` saw
    while (character := text.next_character()) != "]":
        if text.num_elements:
            if character != ",":
                yield text.num_elements, _broken("a comma or ] is missing after the element before", text)
                return
            text.start += 1
            if text.next_character() == "]":
                yield text.num_elements, _broken("trailing comma before ]", text)
                return
        value = _element(text)
        yield text.num_elements, value
        if isinstance(value, BadRecord) and value.reason == "cut-off":
            return
        text.num_elements += 1
        text.settle()
    text.start += 1
    if text.next_character():
        yield text.num_elements, _broken("there is text behind the closing bracket", text)


def _element(text: _Text) -> object:
    while True:
        try:
            value, end = DECODER.raw_decode(text.buffer, text.start)
        except (
            BadRecord
        ) as bad:  # a key named twice: the element itself is sound, so skip it without the check
            _, text.start = json.JSONDecoder().raw_decode(text.buffer, text.start)
            return bad
        except json.JSONDecodeError as error:
            if not _is_incomplete(error, text) or not text.grow():
                return _broken(broken_json(text.buffer[text.start :], _moved(error, text.start)).what, text)
        except (ValueError, RecursionError) as error:
            return _broken(str(error), text)
        else:
            is_cut = isinstance(value, int | float) and text.buffer[end : end + 1] in _NUMBER_GOES_ON
            if is_cut and text.grow():
                continue
            raw, text.start = text.buffer[text.start : end], end
            return value if _is_utf8(raw) else _bad_utf8(raw)


def _is_incomplete(error: json.JSONDecodeError, text: _Text) -> bool:
    """Whether more text could mend the error."""
    length = len(text.buffer) - text.start
    is_at_end = error.msg.startswith("Unterminated string") or error.pos >= len(text.buffer) - _LONGEST_TOKEN
    return is_at_end and length < MAX_BYTES_PER_RECORD


def _moved(error: json.JSONDecodeError, start: int) -> json.JSONDecodeError:
    return json.JSONDecodeError(error.msg, error.doc[start:], error.pos - start)


def _broken(what: str, text: _Text) -> BadRecord:
    return BadRecord(
        "cut-off",
        f"broken JSON: {what}; the array cannot be read from here on",
        "Mend the file, or write it as JSON lines, where one broken record costs one record.",
        excerpt=text.buffer[text.start : text.start + 1000],
    )


def _is_utf8(raw: str) -> bool:
    if raw.isascii():
        return True
    try:
        raw.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _bad_utf8(raw: str) -> BadRecord:
    position = next(i for i, character in enumerate(raw) if "\ud800" <= character <= "\udfff")
    return BadRecord(
        "bad-utf8",
        f"character {position + 1:,} of the element is byte 0x{ord(raw[position]) - 0xDC00:02x}, not UTF-8",
        "Convert the file: iconv -f <its encoding> -t utf-8.",
        excerpt=shorten(raw, 1000).encode("utf-8", "replace").decode(),
    )
