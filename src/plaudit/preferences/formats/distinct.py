"""Completions that are the same text as one completion, with the means of what was said about each copy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.group import Completion

__all__ = ["MERGED", "Attributes", "Distinct", "mean_of_known", "merge_identical"]

MERGED = "records with completions of the same text, which were merged into one (rated: with the mean)"
"""The note for a record in which it happened."""

Attributes = tuple[tuple[float | None, ...], ...]
"""[K][A], as in `PreferenceGroup.attributes`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Distinct:
    """K distinct completions, in order of first appearance."""

    completions: tuple[Completion, ...]
    """Text or messages."""
    values: tuple[float | None, ...]
    """[K]: ratings or ranks."""
    attributes: Attributes | None
    """[K][A], None where nothing is known."""
    notes: tuple[str, ...]
    """`MERGED` where some were merged."""


def merge_identical(
    completions: Sequence[Completion],
    values: Sequence[float | None],
    attributes: Attributes | None,
    name: str,
    *,
    same_value: bool,
) -> Distinct:
    """The distinct completions.

    Args:
        completions: Text or messages.
        values: A rating or rank of each, None where unknown.
        attributes: Rated attributes of each.
        name: What the record calls the list, for error texts.
        same_value: Whether copies must have the same value.

    Raises:
        BadRecord: ``identical-completions``, where copies must have the same value and have not.
    """
    places: dict[str, list[int]] = {}
    for index, completion in enumerate(completions):
        key = completion if isinstance(completion, str) else json.dumps(completion)
        met = places.setdefault(key, [])
        met.append(index)
        if same_value and values[index] != values[met[0]]:
            raise BadRecord(
                "identical-completions",
                f"{name}[{index}] is the same text as an earlier one, but valued {values[index]} "
                f"against {values[met[0]]}",
                "Remove one of the two.",
            )
    copies = list(places.values())
    return Distinct(
        completions=tuple([completions[met[0]] for met in copies]),
        values=tuple([mean_of_known(values[index] for index in met) for met in copies]),
        attributes=None
        if attributes is None
        else tuple([_mean_attributes(attributes, met) for met in copies]),
        notes=(MERGED,) * (len(copies) < len(completions)),
    )


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the numbers, None where there are none.

    >>> mean_of_known([1.0, None, 2.0]), mean_of_known([None])
    (1.5, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mean_attributes(attributes: Attributes, places: Sequence[int]) -> tuple[float | None, ...]:
    return tuple([mean_of_known(numbers) for numbers in zip(*[attributes[i] for i in places], strict=True)])
