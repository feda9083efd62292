"""What a run evaluates on: data sets and suites by name, and the distinct items of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plaudit.errors import PlauditError
from plaudit.evaluation.folder import REWARDS_FOLDER
from plaudit.evaluation.reward_source import PlannedSet
from plaudit.evaluation.suites import Suite
from plaudit.preferences import Preferences

__all__ = ["DistinctItems", "EvaluationSet", "check_names", "distinct_items"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSet:
    """Something to evaluate on."""

    name: str
    """What it is called in tables, and its folder's name."""
    preferences: Preferences
    """The data."""
    suite: Suite | None = None
    """The benchmark whose rule turns rewards into its scores; None for data without one."""


def check_names(sets: Sequence[EvaluationSet]) -> None:
    """Whether there are sets, all of different names that can be those of folders.

    Raises:
        PlauditError: It is not so.
    """
    if not sets:
        raise PlauditError("there is nothing to evaluate on", fix="Give --suite or --data.")
    names = [part.name for part in sets]
    for name in names:
        if names.count(name) > 1:
            raise PlauditError(f"two data sets are called {name!r}", fix="Give each a name of its own.")
        if name in ("", ".", "..", REWARDS_FOLDER) or "/" in name:
            raise PlauditError(
                f"a data set is called {name!r}, which can be no folder's name",
                fix="Give another: --data NAME=SOURCE.",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DistinctItems:
    """The distinct items of all sets."""

    items: list[Any]
    """Each different from the others."""
    keys: list[bytes]
    """Their keys."""
    indices: list[np.ndarray]
    """For each set int64 [sequence]: which of the items each of its sequences is."""
    sets: Sequence[EvaluationSet]
    """The sets."""
    planned: Sequence[PlannedSet]
    """What of each set is scored."""

    def place_of(self, item: int) -> str:
        """Where the first comparison with this item was read."""
        for part, of_set, index in zip(self.sets, self.planned, self.indices, strict=True):
            rows = of_set.plan.rows
            names_it = (index[rows.better] == item) | (index[rows.worse] == item)
            if names_it.any():
                group = int(rows.group[int(np.flatnonzero(names_it)[0])])
                return part.preferences[group].source or f"row {group} of {part.name}"
        return f"sequence {item}"


def distinct_items(sets: Sequence[EvaluationSet], planned: Sequence[PlannedSet]) -> DistinctItems:
    """What of some sets is to be scored, each item once, in the order of the sets."""
    items: list[Any] = []
    index_of: dict[bytes, int] = {}
    indices = []
    for part in planned:
        index = np.empty(len(part.plan.keys), dtype=np.int64)
        for place, (key, item) in enumerate(zip(part.plan.keys, part.plan.sequences, strict=True)):
            index[place] = index_of.setdefault(key, len(items))
            if index[place] == len(items):
                items.append(item)
        indices.append(index)
    return DistinctItems(items=items, keys=list(index_of), indices=indices, sets=sets, planned=planned)
