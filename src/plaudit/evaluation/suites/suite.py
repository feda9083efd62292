"""The protocol of a suite, and the base of those that read rows of one fixed schema.

A suite says two things: how a row of its data becomes a preference group (`Benchmark.to_group`), and how the
rewards of all groups become scores (`Benchmark.score`). Finding, opening and checking the data is done once, in
`source`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from plaudit.evaluation.suites.items import ScoredItem
from plaudit.evaluation.suites.scores import SuiteScores
from plaudit.evaluation.suites.source import SuitePart, read_suite
from plaudit.preferences import PreferenceGroup, Preferences

__all__ = ["Benchmark", "Suite"]


@runtime_checkable
class Suite(Protocol):
    """A benchmark: where its data are, and how rewards on them become scores."""

    name: str
    """What it is called on the command line."""

    def read(self, source: str | None = None, *, progress: bool = True) -> Preferences:
        """The data as preference groups.

        Args:
            source: A local file or folder, or another hub id, of the same schema; the suite's own hub id when None.
            progress: Whether progress is shown.

        Raises:
            PlauditError: The data cannot be found, lack a column, or hold a bad row, which is named.
        """
        ...

    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """The scores of a model.

        Args:
            items: All items of `items_of`, in any order.
            ties: What equal rewards count for: ``zero`` or ``half``.

        Raises:
            PlauditError: ``ties`` is unknown.
        """
        ...


class Benchmark(ABC):
    """A suite whose data have one schema, row by row."""

    name: ClassVar[str]
    """As in `Suite`."""
    title: ClassVar[str]
    """Its name as its authors write it."""
    paper: ClassVar[str] = ""
    """Where its rule is published."""
    columns: ClassVar[tuple[str, ...]]
    """Columns that every row must have; an error names them."""
    parts: ClassVar[tuple[SuitePart, ...]] = ()
    """Its data on the hub; none where they are local only."""

    def read(
        self, source: str | None = None, *, progress: bool = True, on_bad_record: str = "error"
    ) -> Preferences:
        """See `Suite.read`; ``on_bad_record`` is ``error`` or ``skip``, which counts bad rows."""
        return read_suite(self, source, progress=progress, on_bad_record=on_bad_record)

    @abstractmethod
    def to_group(self, row: Mapping[str, Any], part: str | None, where: str) -> PreferenceGroup:
        """The group of one row, which has all of `columns`.

        Args:
            row: As it stands in the data.
            part: The name of the `SuitePart` that it was read from; None where that is not known.
            where: Its place, for `PreferenceGroup.source`.

        Raises:
            BadRecord: A value that cannot be used.
        """

    @abstractmethod
    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """See `Suite.score`."""
