"""What a reading found: every record is in exactly one of the counts, so that nothing is lost in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["ReadReport", "Tally"]

NUM_EXAMPLES = 5
"""Bad records that the report quotes (assumed: the file of bad records has all of them)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadReport:
    """The counts of one reading; ``num_records == num_good + num_bad``, and blank lines are apart."""

    sources: tuple[str, ...] = ()
    """What was read: files, or data sets with their split."""
    num_records: int = 0
    """Records met, good and bad."""
    num_blank: int = 0
    """Blank lines, which are no records."""
    num_groups: int = 0
    """Preference groups that came out: fewer than good records where some were merged or not taken."""
    num_comparisons: int = 0
    """Judgements in those groups, ties included."""
    num_ties: int = 0
    """Judgements of "equally good" among them."""
    num_without_comparison: int = 0
    """Groups that compare nothing: rated only, or all samples right or wrong. They teach no comparison."""
    num_duplicates: int = 0
    """Groups whose content was met before. They are kept."""
    num_contradictions: int = 0
    """Pairs of completions judged both ways within one merged group. Both judgements are kept."""
    num_bad: int = 0
    """Records skipped."""
    bad_by_reason: Mapping[str, int] = field(default_factory=dict)
    """Skipped records by the name of the reason."""
    bad_examples: tuple[str, ...] = ()
    """The first few skipped records: place, reason, what."""
    formats: Mapping[str, int] = field(default_factory=dict)
    """Good records by recognised format."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """What else was decided on the way, with the number of records it touched."""

    @property
    def num_good(self) -> int:
        """Records that were used."""
        return self.num_records - self.num_bad

    def summary(self) -> str:
        """The report as lines of text for a terminal or a log."""
        lines = [
            f"read {self.num_records:,} records from {', '.join(self.sources) or 'nothing'}",
            f"  formats: {_counts(self.formats)}",
            f"  {self.num_groups:,} groups, {self.num_comparisons:,} comparisons ({self.num_ties:,} ties)",
        ]
        lines += [f"  {number:,} {text}" for text, number in self._remarks() if number]
        lines += [f"  {number:,}: {text}" for text, number in self.notes.items()]
        lines += [f"    {example}" for example in self.bad_examples]
        return "\n".join(lines)

    def _remarks(self) -> list[tuple[str, int]]:
        return [
            ("groups without a comparison", self.num_without_comparison),
            ("duplicates of an earlier group (kept)", self.num_duplicates),
            ("pairs judged both ways (kept)", self.num_contradictions),
            ("blank lines", self.num_blank),
            (f"bad records skipped: {_counts(self.bad_by_reason)}", self.num_bad),
        ]

    def to_json(self) -> dict[str, Any]:
        """The report as plain values, for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ReadReport:
        """The inverse of `to_json`."""
        tuples = {name: tuple(values[name]) for name in ("sources", "bad_examples")}
        return cls(**{**values, **tuples})


class Tally:
    """The counts while reading goes on; `report` freezes them."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.num_records = 0
        self.num_blank = 0
        self.bad_by_reason: Counter[str] = Counter()
        self.bad_examples: list[str] = []
        self.formats: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def add_bad(self, reason: str, where: str, what: str) -> None:
        """Count one skipped record."""
        self.bad_by_reason[reason] += 1
        if len(self.bad_examples) < NUM_EXAMPLES:
            self.bad_examples.append(f"{where}: {reason}: {what}")

    def report(self, **counts: int) -> ReadReport:
        """The counts so far; ``counts`` are those of the groups, which another part keeps."""
        return ReadReport(
            sources=tuple(self.sources),
            num_records=self.num_records,
            num_blank=self.num_blank,
            num_bad=sum(self.bad_by_reason.values()),
            bad_by_reason=dict(self.bad_by_reason.most_common()),
            bad_examples=tuple(self.bad_examples),
            formats=dict(self.formats.most_common()),
            notes=dict(self.notes.most_common()),
            **counts,
        )

    def add_report(self, report: ReadReport) -> None:
        """Take over what another reading counted."""
        self.sources += report.sources
        self.num_records += report.num_records
        self.num_blank += report.num_blank
        self.bad_by_reason.update(report.bad_by_reason)
        self.bad_examples = [*self.bad_examples, *report.bad_examples][:NUM_EXAMPLES]
        self.formats.update(report.formats)
        self.notes.update(report.notes)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items()) or "none"
