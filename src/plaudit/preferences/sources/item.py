"""What every source yields: the number of a record and its value, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

__all__ = ["BLANK", "Item", "Items", "Part", "Position"]

BLANK: Final = object()
"""A blank line: counted, no record."""

Item: TypeAlias = tuple[int, Any]
"""The record's number, and its decoded value, `BLANK`, or a `BadRecord` that says why there is none."""

Items: TypeAlias = Generator[Item, None, None]
"""A generator, so that whoever stops early can close it and the file below."""


class Position:
    """How many bytes of the sources were read, for the progress bar."""

    def __init__(self) -> None:
        self.num_bytes_before = 0
        self.tell: Callable[[], int] = _zero

    def num_bytes(self) -> int:
        """Bytes read so far, of the files as they lie on disk."""
        return self.num_bytes_before + self.tell()

    def next_part(self, num_bytes: int) -> None:
        """A part of ``num_bytes`` was read whole."""
        self.num_bytes_before += num_bytes
        self.tell = _zero


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One file, data set or iterable."""

    name: str
    """As the person named it; begins the place of every record."""
    read: Callable[[Position], Items]
    """Starts reading; each call starts anew, where the source allows it."""
    place: Literal["line", "element"]
    """``line``: written ``name:7``. ``element``: written ``name[7]``, counted from 0."""
    num_bytes: int = 0
    """Size on disk; 0 where it is unknown."""

    def where(self, number: int) -> str:
        """The place of a record.

        >>> Part(name="a.jsonl", read=lambda position: (item for item in ()), place="line").where(3)
        'a.jsonl:3'
        """
        return f"{self.name}:{number}" if self.place == "line" else f"{self.name}[{number}]"


def _zero() -> int:
    return 0
