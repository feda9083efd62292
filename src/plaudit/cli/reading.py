"""``--data`` and the options around it, as preferences."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plaudit.errors import PlauditError, unknown_choice

if TYPE_CHECKING:
    from plaudit.preferences import Preferences

__all__ = ["TRANSCRIPTS", "ReadOptions", "parse_columns", "parse_source", "read_sources"]

TRANSCRIPTS = ("auto", "messages", "text")
ON_BAD_RECORD = ("error", "skip")

_AMOUNT = re.compile(r"(?P<source>.+)=(?P<amount>\d+|\d*\.\d+|\d+\.)")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How the commands read preference data."""

    transcripts: str = "auto"
    """``messages``, ``text``, or ``auto``: messages where conversations are rendered as chat."""
    on_bad_record: str = "error"
    """``error`` or ``skip``."""
    group_by_prompt: bool = False
    """Whether records of one prompt become one group."""
    columns: Mapping[str, str] | None = None
    """Our names to the data's."""
    attributes: tuple[str, ...] = ()
    """Names of rated attributes to keep."""
    seed: int = 0
    """Chooses the groups where a part of a source is taken."""

    def problems(self) -> list[PlauditError]:
        """Every choice that is unknown."""
        choices = (
            ("--transcripts", self.transcripts, TRANSCRIPTS),
            ("--on-bad-record", self.on_bad_record, ON_BAD_RECORD),
        )
        return [unknown_choice(*choice) for choice in choices if choice[1] not in choice[2]]


def read_sources(
    sources: Sequence[str],
    options: ReadOptions,
    *,
    render: str,
    bad_records_path: Path | None = None,
    progress: bool = True,
) -> Preferences:
    """Read one source or a mixture into a table, and log what was found.

    Args:
        sources: As ``--data`` gives them: ``path``, ``path=0.5``, ``path=1000``.
        options: How to read.
        render: How the model renders conversations, ``chat`` or ``text``: decides ``--transcripts auto``.
        bad_records_path: Where skipped records are written.
        progress: Whether progress is shown.

    Raises:
        PlauditError: What reading raises; or a source named twice.
    """
    from plaudit.preferences import read_mixture

    for problem in options.problems():
        raise problem
    automatic = "messages" if render == "chat" else "text"
    amounts: dict[str, float | int | None] = {}
    for source, amount in map(parse_source, sources):
        if source in amounts:
            raise PlauditError("the source is named twice", where=source, fix="Name it once.")
        amounts[source] = amount
    skips = options.on_bad_record == "skip"
    preferences = read_mixture(
        amounts,
        seed=options.seed,
        columns=options.columns,
        transcripts=automatic if options.transcripts == "auto" else options.transcripts,
        on_bad_record=options.on_bad_record,
        bad_records_path=bad_records_path if skips else None,
        group_by_prompt=options.group_by_prompt,
        attributes=options.attributes or None,
        progress=progress,
    )
    if preferences.report.num_bad and bad_records_path is not None:
        log.warning("%s bad records skipped; they are in %s", preferences.report.num_bad, bad_records_path)
    return preferences


def parse_source(text: str) -> tuple[str, float | int | None]:
    """A source and how much of it: a share (with a point), a number of groups, or None for all.

    An existing path is all path.

    >>> parse_source("a.jsonl=0.5"), parse_source("org/data@train=1000"), parse_source("a.jsonl")
    (('a.jsonl', 0.5), ('org/data@train', 1000), ('a.jsonl', None))
    """
    match = _AMOUNT.fullmatch(text)
    if match is None or Path(text).exists():
        return text, None
    amount = match["amount"]
    return match["source"], float(amount) if "." in amount else int(amount)


def parse_columns(entries: Sequence[str]) -> dict[str, str]:
    """``ours=theirs`` entries as a mapping.

    Raises:
        PlauditError: An entry has no ``=``.

    >>> parse_columns(["prompt=question"])
    {'prompt': 'question'}
    """
    columns: dict[str, str] = {}
    for entry in entries:
        ours, equals, theirs = entry.partition("=")
        if not (ours and equals and theirs):
            raise PlauditError(
                f"{entry!r} does not say which column stands for which",
                where="--column",
                fix="Write our name, an equals sign and yours: --column prompt=question.",
            )
        columns[ours] = theirs
    return columns
