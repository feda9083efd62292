"""The rated attributes of a reading: the names asked for, and whether the data have them.

A name that no record has is a mistake that would otherwise show up much later, as an output that learns nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plaudit.errors import PlauditError
from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.formats.attributes import numeric_names
from plaudit.preferences.formats.rankings import TEXT_KEYS
from plaudit.preferences.formats.recognise import KEYS, rename
from plaudit.preferences.group import PreferenceGroup

__all__ = ["AskedAttributes", "check_attributes"]

_MAX_NAMES = 30
"""Names that an error lists (assumed: what a person reads)."""


def check_attributes(attributes: Sequence[str] | None, source: object = None) -> tuple[str, ...]:
    """The names asked for; those of ``source`` where it is preferences that have some and none were asked for.

    Raises:
        PlauditError: They are no list of distinct names, or not those of the preferences.
    """
    fix = 'Give a list of names: attributes=["helpfulness", "correctness"].'
    if isinstance(attributes, str):
        raise PlauditError(f"the names are one text, {attributes!r}", where="attributes", fix=fix)
    names = tuple(attributes or ())
    wrong = [name for name in names if not isinstance(name, str) or not name or names.count(name) > 1]
    if wrong:
        what = "is there twice" if names.count(wrong[0]) > 1 else "is no name"
        raise PlauditError(f"{wrong[0]!r} {what}", where="attributes", fix=fix)
    given: tuple[str, ...] = getattr(source, "attribute_names", ())
    if given and names not in ((), given):
        raise PlauditError(
            f"the preferences have the attributes {', '.join(given)}, not {', '.join(names)}",
            where="attributes",
            fix="Ask for the same, or read the source of these preferences anew.",
        )
    return names or given


class AskedAttributes:
    """The names asked for, and which of them were met.

    Args:
        names: A of them, distinct.
        columns: Our names to the source's.
    """

    def __init__(self, names: Sequence[str], columns: Mapping[str, str]) -> None:
        self.names = tuple(names)
        self._columns = columns
        self._missing = set(self.names)
        self._numeric: set[str] = set()

    def check_group(self, group: PreferenceGroup) -> None:
        """Whether a group that was given as such has a row of A numbers for each completion, or none.

        Raises:
            BadRecord: ``length-mismatch``.
        """
        if group.attributes is None:
            return
        widths = {len(values) for values in group.attributes}
        if len(group.attributes) != len(group.completions) or widths - {len(self.names)}:
            raise BadRecord(
                "length-mismatch",
                f"{len(group.attributes)} rows of {' or '.join(map(str, sorted(widths)))} attributes for "
                f"{len(group.completions)} completions and {len(self.names)} names",
                "Give one row for each completion, and the names: attributes=[...].",
            )

    def see(self, group: PreferenceGroup, record: Any) -> Iterator[str]:
        """Remember which names a group has; gives a note for each that it does not have for all completions."""
        for index, name in enumerate(self.names):
            values = [None if group.attributes is None else row[index] for row in group.attributes or [()]]
            if any(value is not None for value in values):
                self._missing.discard(name)
            if any(value is None for value in values):
                yield f"records in which the attribute {name} is unknown, for a completion at least"
        if self._missing and isinstance(record, dict):
            renamed = rename(record, self._columns) if self._columns else record
            self._numeric |= numeric_names(renamed, (*KEYS, *TEXT_KEYS))

    def check_met(self, sources: Sequence[str]) -> None:
        """Whether every name was met, once all records are read.

        Raises:
            PlauditError: One was not; the numeric names that were seen are listed.
        """
        if not self._missing:
            return
        missing = [name for name in self.names if name in self._missing]
        seen = sorted(self._numeric)
        listed = ", ".join(seen[:_MAX_NAMES]) + (", ..." if len(seen) > _MAX_NAMES else "")
        raise PlauditError(
            f"no record has a number for the attribute {', '.join(missing)}; numeric names seen: {listed or 'none'}",
            where=", ".join(sources),
            fix="Ask for names that the data have: attributes=[...], or --attributes on the command line.",
        )
