"""`Preferences`: the groups of a reading, on disk or as a stream, with the report of what was found."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, SupportsIndex, final

from datasets import Dataset

from plaudit.errors import PlauditError
from plaudit.preferences.group import PreferenceGroup
from plaudit.preferences.report import ReadReport
from plaudit.preferences.sealing import GroupCounts
from plaudit.preferences.table import attribute_names_of, row_to_group

__all__ = ["PreferenceStream", "Preferences", "StreamState"]

_ROWS_PER_BATCH = 256


class StreamState:
    """What a pass over a stream has found so far."""

    def __init__(self, attribute_names: Sequence[str] = ()) -> None:
        self.counts = GroupCounts(attribute_names)
        self.report: Callable[[], ReadReport] = ReadReport


PreferenceStream = Callable[[StreamState], Iterator[PreferenceGroup]]
"""Starts a pass over a streamed source, which keeps its counts in the state."""


@final
class Preferences:
    """Preference groups in a memory-mapped table, or streamed where the source streams.

    Made by `read_preferences` and `read_mixture`. A table has a length and random access; a stream has
    neither, is read anew by each iteration, and its report and fingerprint tell of the last iteration so far.

    >>> from plaudit.preferences import read_preferences
    >>> preferences = read_preferences([{"prompt": "2+2?", "chosen": "4", "rejected": "5"}])
    >>> len(preferences), preferences[0].completions, preferences.report.num_comparisons
    (1, ('4', '5'), 1)
    """

    def __init__(
        self,
        dataset: Dataset | None = None,
        *,
        report: ReadReport | None = None,
        fingerprint: str = "",
        stream: PreferenceStream | None = None,
        attribute_names: Sequence[str] | None = None,
    ) -> None:
        assert (dataset is None) != (stream is None), "either a table or a stream"
        self._dataset = dataset
        self._report = report or ReadReport()
        self._fingerprint = fingerprint
        self._stream = stream
        if attribute_names is None:
            attribute_names = () if dataset is None else attribute_names_of(dataset)
        self._attribute_names = tuple(attribute_names)
        # Only a stream has a state: a table is pickled to other processes, which a running hash is not.
        self._state = StreamState(self._attribute_names) if stream is not None else None

    @property
    def is_streaming(self) -> bool:
        """Whether the groups are read anew by each iteration, with no length and no random access."""
        return self._stream is not None

    @property
    def dataset(self) -> Dataset:
        """The table with the columns of `table.SCHEMA`, memory-mapped.

        Raises:
            PlauditError: The source is a stream.
        """
        if self._dataset is None:
            raise PlauditError(
                "streamed preferences are no table",
                where=", ".join(self.report.sources) or None,
                fix="Iterate over them, or read the source without streaming.",
            )
        return self._dataset

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """What the numbers of `PreferenceGroup.attributes` are called, in their order; empty without any."""
        return self._attribute_names

    @property
    def report(self) -> ReadReport:
        """The counts of everything that was read, skipped or decided on the way."""
        return self._state.report() if self._state is not None else self._report

    @property
    def fingerprint(self) -> str:
        """SHA-256 of prompts, completions and all that is known of them, in order: the same data, the same text."""
        return self._fingerprint if self._state is None else self._state.counts.fingerprint

    def __len__(self) -> int:
        if self._dataset is None:
            raise TypeError("streamed preferences have no length before they are read")
        return len(self._dataset)

    def __bool__(self) -> bool:
        return self.is_streaming or len(self) > 0

    def __getitem__(self, index: SupportsIndex) -> PreferenceGroup:
        number = operator.index(index)
        length = len(self)
        if not -length <= number < length:
            raise IndexError(f"group {number} of {length:,}")
        row: Any = self.dataset[number % length]
        return row_to_group(row)

    def __iter__(self) -> Iterator[PreferenceGroup]:
        if self._stream is not None:
            self._state = StreamState(self._attribute_names)
            yield from self._stream(self._state)
            return
        for batch in self.dataset.iter(batch_size=_ROWS_PER_BATCH):
            columns: dict[str, list[Any]] = dict(batch)  # pyright: ignore[reportArgumentType]
            for values in zip(*columns.values(), strict=True):
                yield row_to_group(dict(zip(columns, values, strict=True)))

    def __repr__(self) -> str:
        size = "a stream" if self.is_streaming else f"{len(self):,} groups"
        return f"Preferences({size} from {', '.join(self.report.sources) or 'nothing yet'})"
