"""The texts of comparisons in small packed blocks, which a page unpacks when they are needed.

A block is JSON, compressed by gzip and written in base64: it stands in a page as it is, whatever the texts hold, and
a browser unpacks it without a library.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MAX_CHARACTERS", "TextBlock", "TextWriter", "pack", "turns_of", "unpack"]

MAX_CHARACTERS = 8_000
"""Of one prompt or completion in a page, unless asked otherwise."""

BLOCK_CHARACTERS = 400_000
"""Text in one block before it is packed (assumed: unpacked in a few hundredths of a second on a phone)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextBlock:
    """The texts of some comparisons that follow each other, packed."""

    first: int
    """Index of its first comparison."""
    num_rows: int
    """How many it holds."""
    data: str
    """JSON ``{"texts": [...], "rows": [[prompt, better, worse], ...]}`` by `pack`, rows as indices of texts."""


class TextWriter:
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
        shown, num_left_out = _cut(turns_of(text, row["is_conversational"]), self.max_characters)
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


def turns_of(text: str, is_conversational: bool) -> str | list[list[str]]:
    """Plain text as it is; a conversation as [role, text] of each message."""
    if not is_conversational:
        return text
    return [[str(message.get("role", "")), _said(message)] for message in json.loads(text)]


def pack(value: Any) -> str:
    """JSON, compressed by gzip, in base64; the same value gives the same text."""
    plain = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(plain.encode("utf-8", "replace"), 6, mtime=0)).decode("ascii")


def unpack(data: str) -> Any:
    """The inverse of `pack`."""
    return json.loads(gzip.decompress(base64.b64decode(data)))


def _said(message: Mapping[str, Any]) -> str:
    """A message's text; where it holds more than text, all of it as JSON."""
    content = message.get("content")
    if isinstance(content, str) and set(message) <= {"role", "content"}:
        return content
    return json.dumps({key: value for key, value in message.items() if key != "role"}, ensure_ascii=False)


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
