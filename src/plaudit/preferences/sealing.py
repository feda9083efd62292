"""A preference group made ready to be stored: proved to be storable, hashed and counted.

The hashes give the data's fingerprint and find duplicates, at 8 bytes of memory a group.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.group import PreferenceGroup
from plaudit.preferences.table import group_to_row

__all__ = ["GroupCounts", "Sealed", "seal", "seal_row"]


class Sealed(NamedTuple):
    """A group as a row, proved to be storable, with the digest of its content."""

    row: dict[str, Any]
    digest: bytes
    num_bytes: int


def seal(group: PreferenceGroup) -> Sealed:
    """The group as a row of `SCHEMA`.

    Raises:
        BadRecord: ``lone-surrogate``, or ``wrong-type`` for a value that is not JSON.
    """
    try:
        return seal_row(group_to_row(group))
    except UnicodeEncodeError as error:
        code = f"\\u{ord(error.object[error.start]):04x}"
        raise BadRecord(
            "lone-surrogate",
            f"a text holds the lone surrogate {code}",
            "Remove it, or write the whole character.",
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRecord(
            "wrong-type", f"a value is not JSON: {error}", "Use text, numbers, lists, objects."
        ) from error


def seal_row(row: dict[str, Any]) -> Sealed:
    """The row with the digest of everything but its id, subset and source."""
    # No JSON text holds a raw control character, so that these two keep the parts apart.
    texts = "\x1f".join((row["prompt"], *row["completions"]))
    extras = f"{row['tools']}\x1f{row['chat_template_kwargs']}"
    numbers = f"{row['better']}{row['worse']}{row['margin']}{row['weight']}{row['is_tie']}{row['ratings']}"
    # Where nobody asked for attributes, the data are the data that they were before there were any.
    if row["attributes"] is not None:
        numbers += str(row["attributes"])
    content = f"{texts}\x1e{extras}\x1e{numbers}".encode()
    for name in ("id", "subset", "source"):
        if row[name] is not None and not row[name].isascii():
            row[name].encode()  # a lone surrogate anywhere is refused
    return Sealed(row, hashlib.sha256(content).digest(), len(content))


class GroupCounts:
    """Counts of groups, with their fingerprint: a SHA-256 over the attributes' names and the digests in order."""

    def __init__(self, attribute_names: Sequence[str] = ()) -> None:
        self.num_groups = 0
        self.num_comparisons = 0
        self.num_ties = 0
        self.num_without_comparison = 0
        self._heads = array("Q")
        self._hash = hashlib.sha256("\x1f".join(attribute_names).encode())

    def add(self, sealed: Sealed) -> None:
        """Count one group."""
        ties = sealed.row["is_tie"]
        self.num_groups += 1
        self.num_comparisons += len(ties)
        self.num_ties += sum(ties)
        self.num_without_comparison += not ties
        self._heads.append(int.from_bytes(sealed.digest[:8], "little"))
        self._hash.update(sealed.digest)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the content so far; ids, subsets and places are not in it."""
        return self._hash.hexdigest()

    def as_counts(self) -> dict[str, int]:
        """The counts by `ReadReport`'s names. Two different groups pass for duplicates with odds of 2^-64."""
        heads = np.frombuffer(self._heads, dtype=np.uint64) if self._heads else np.zeros(0, np.uint64)
        return {
            "num_groups": self.num_groups,
            "num_comparisons": self.num_comparisons,
            "num_ties": self.num_ties,
            "num_without_comparison": self.num_without_comparison,
            "num_duplicates": self.num_groups - len(np.unique(heads)),
        }
