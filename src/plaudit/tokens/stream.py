"""The token stream: token groups one after the other, from a source that need not fit on the disk.

Only one chunk of groups is in memory. The report grows with what was read; it is whole when the stream ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from plaudit.preferences.group import PreferenceGroup
from plaudit.preferences.table import row_to_group
from plaudit.tokens.columns import COUNT_COLUMNS
from plaudit.tokens.group import TokenGroup
from plaudit.tokens.limits import LengthLimits, LimitedGroup
from plaudit.tokens.report import TokenReport, report_of_columns

__all__ = ["TokenStream"]

GROUPS_PER_CHUNK = 64
"""Groups read ahead: enough for a fast tokenizer's threads, few enough to start at once (assumed)."""


class TokenStream:
    """Token groups in the order of their source; what `tokenize_preferences` returns for a stream.

    Every iteration starts the source anew, and the report with it.

    Args:
        source: Rows of `plaudit.preferences.table.SCHEMA`, or preference groups.
        tokenizer: From groups and their rows to (row, outcome) pairs.
        limits: The limits that it applies, for the report.
        attribute_names: What the columns of `TokenGroup.attributes` are called.
    """

    def __init__(
        self,
        source: Iterable[Mapping[str, Any] | PreferenceGroup],
        tokenizer: Callable[[Sequence[PreferenceGroup], Sequence[int]], list[tuple[int, LimitedGroup]]],
        limits: LengthLimits,
        attribute_names: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.limits = limits
        self.attribute_names = tuple(attribute_names)
        self._tokenizer = tokenizer
        self._counts: list[tuple[int, ...]] = []
        self._reasons: list[str | None] = []

    def __iter__(self) -> Iterator[TokenGroup]:
        self._counts, self._reasons = [], []
        groups = (item if isinstance(item, PreferenceGroup) else row_to_group(item) for item in self.source)
        num_read = 0
        while chunk := list(islice(groups, GROUPS_PER_CHUNK)):
            rows = range(num_read, num_read + len(chunk))
            num_read += len(chunk)
            for _, outcome in self._tokenizer(chunk, rows):
                self._count(outcome)
                if outcome.group is not None:
                    yield outcome.group

    @property
    def report(self) -> TokenReport:
        """What was read so far."""
        names = (*COUNT_COLUMNS, "num_truncated_tokens", "max_sequence_tokens", "num_tokens")
        counts = np.array(self._counts, dtype=np.int64).reshape(-1, len(names))
        columns = {name: counts[:, index] for index, name in enumerate(names)}
        return report_of_columns(
            {**columns, "drop_reason": np.array(self._reasons, dtype=object)}, self.limits
        )

    def set_epoch(self, epoch: int) -> None:
        """Tell the source which epoch it is, so that a shuffled stream shuffles anew."""
        if hasattr(self.source, "set_epoch"):
            self.source.set_epoch(epoch)  # type: ignore[attr-defined]

    def _count(self, outcome: LimitedGroup) -> None:
        lengths = [] if outcome.group is None else [len(ids) for ids in outcome.group.sequences]
        num_cut = 0 if outcome.group is None else outcome.group.num_truncated_tokens
        counts = tuple(int(getattr(outcome, name)) for name in COUNT_COLUMNS)
        self._counts.append((*counts, num_cut, max(lengths, default=0), sum(lengths)))
        self._reasons.append(outcome.drop_reason)
