"""One pass over a source: from raw records to sealed groups, with everything else counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from plaudit.errors import PlauditError
from plaudit.preferences.attributes import AskedAttributes
from plaudit.preferences.bad_record import BadRecord, BadRecordPolicy
from plaudit.preferences.formats.recognise import Parsed, parse_record
from plaudit.preferences.group import PreferenceGroup
from plaudit.preferences.progress import track
from plaudit.preferences.report import Tally
from plaudit.preferences.sealing import Sealed, seal
from plaudit.preferences.sources.item import BLANK, Items, Part, Position
from plaudit.preferences.sources.locate import Located

__all__ = ["Reading"]


class Reading:
    """One source and how to read it; `sealed` is one pass."""

    def __init__(
        self,
        located: Located,
        columns: Mapping[str, str],
        transcripts: str,
        policy: BadRecordPolicy,
        progress: bool,
        attributes: AskedAttributes,
    ) -> None:
        self.located = located
        self._columns = columns
        self._transcripts = transcripts
        self.policy = policy
        self._progress = progress
        self.attributes = attributes

    def sealed(self, tally: Tally) -> Iterator[tuple[PreferenceGroup, Sealed]]:
        """The good groups, as themselves and as rows; everything else is counted."""
        for name in self.located.not_read:
            tally.notes[f"file not read, of another split: {name}"] += 1
        for part in self.located.parts:
            tally.sources.append(part.name)
            yield from self._part(part, tally)

    def _part(self, part: Part, tally: Tally) -> Iterator[tuple[PreferenceGroup, Sealed]]:
        position = Position()
        with (
            closing(part.read(position)) as items,
            closing(self._track(items, part, position)) as tracked,
        ):
            for number, value in tracked:
                if value is BLANK:
                    tally.num_blank += 1
                    continue
                pair = self._one(part, number, value, tally)
                if pair is not None:
                    yield pair

    def _track(self, items: Items, part: Part, position: Position) -> Items:
        return track(
            items,
            f"reading {part.name}",
            position=position,
            num_bytes=part.num_bytes,
            enabled=self._progress,
        )

    def _one(
        self, part: Part, number: int, value: Any, tally: Tally
    ) -> tuple[PreferenceGroup, Sealed] | None:
        """The group of one record, None where it is bad and skipped."""
        tally.num_records += 1
        where = part.where(number)
        try:
            name, group, notes = self._parse(value, where)
            sealed = seal(group)
        except BadRecord as bad:
            self.policy.handle(bad, source=part.name, line=number, where=where, record=value)
            tally.add_bad(bad.reason, where, bad.what)
            return None
        tally.formats[name] += 1
        for note in (*notes, *self.attributes.see(group, value)):
            tally.notes[note] += 1
        return group, sealed

    def _parse(self, value: Any, where: str) -> Parsed:
        if isinstance(value, BadRecord):
            raise value
        if isinstance(value, PreferenceGroup):
            self.attributes.check_group(value)
            return "preference-group", value, ()
        return parse_record(
            value,
            where,
            transcripts=self._transcripts,
            columns=self._columns,
            attributes=self.attributes.names,
        )

    def check_any(self, tally: Tally) -> None:
        """Whether a whole pass gave anything.

        Raises:
            PlauditError: There were no records, or all were bad.
        """
        if tally.num_records > sum(tally.bad_by_reason.values()):
            return
        where = ", ".join(part.name for part in self.located.parts)
        if not tally.num_records:
            blank = f" ({tally.num_blank} blank lines)" if tally.num_blank else ""
            raise PlauditError(f"there are no records{blank}", where=where, fix="Give at least one record.")
        reasons = ", ".join(f"{name} {number:,}" for name, number in tally.bad_by_reason.most_common())
        raise PlauditError(
            f"all {tally.num_records:,} records are bad ({reasons}); the first: {tally.bad_examples[0]}",
            where=where,
            fix="Rename keys with columns={'prompt': 'question', ...}, or mend the data.",
        )
