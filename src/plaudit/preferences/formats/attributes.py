"""Rated attributes of a record (helpfulness, correctness, ...): where each form keeps them.

| form | where the attribute ``helpfulness`` stands |
|---|---|
| one response a record (HelpSteer) | ``helpfulness`` beside ``response`` |
| chosen and rejected | ``chosen_helpfulness`` and ``rejected_helpfulness`` |
| several completions or samples | in each: in its ``ratings`` or ``scores``, or as a key of its own |
| the same, with a list beside them | in each object of ``ratings`` or ``scores`` |
| UltraFeedback | in each: ``annotations.helpfulness.Rating`` |

A value is a number or the text of one, since CSV files and UltraFeedback hold text; null and "N/A" are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.formats.distinct import Attributes
from plaudit.preferences.formats.draft import as_finite

__all__ = [
    "as_number",
    "numeric_names",
    "or_none",
    "read_attribute",
    "read_listed_attributes",
    "read_pair_attributes",
]

_PAIR = ("chosen_", "rejected_")
_MAPPINGS = ("ratings", "scores")
_UNKNOWN = ("n/a", "na")


def read_attribute(value: Any, name: str) -> float | None:
    """The number, None where it is unknown.

    Raises:
        BadRecord: ``bad-rating``: it is no finite number.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in _UNKNOWN):
        return None
    number = as_number(value)
    if number is None:
        raise BadRecord(
            "bad-rating",
            f"{name} is {shorten(repr(value))}",
            'Give a finite number; null or "N/A" for unknown.',
        )
    return number


def as_number(value: Any) -> float | None:
    """A finite number or the text of one as a float; None for anything else.

    >>> as_number("4"), as_number(3), as_number("high"), as_number(True)
    (4.0, 3.0, None, None)
    """
    if not isinstance(value, str):
        return as_finite(value)
    try:
        return as_finite(float(value))
    except ValueError:
        return None


def or_none(attributes: Attributes) -> Attributes | None:
    """The attributes, None where nothing is known."""
    return attributes if any(value is not None for values in attributes for value in values) else None


def read_pair_attributes(record: Mapping[str, Any], names: Sequence[str]) -> Attributes | None:
    """[2][A] of chosen and rejected, None where nothing is known.

    Raises:
        BadRecord: ``bad-rating``.
    """
    keys = [[prefix + name for name in names] for prefix in _PAIR]
    return or_none(tuple([tuple([read_attribute(record.get(key), key) for key in of]) for of in keys]))


def read_listed_attributes(
    record: Mapping[str, Any], key: str, items: Sequence[Any], names: Sequence[str]
) -> tuple[Attributes | None, bool]:
    """[K][A] of a list of completions or samples, None where nothing is known; and whether any is named at all.

    Raises:
        BadRecord: ``bad-rating``; ``length-mismatch``: an object of attributes for more or fewer completions.
    """
    if not names:
        return None, False
    beside = _beside(record, len(items))
    found = [{**_values_of(item), **more} for item, more in zip(items, beside, strict=True)]
    attributes = tuple(
        [
            tuple([read_attribute(of.get(name), f"{key}[{index}].{name}") for name in names])
            for index, of in enumerate(found)
        ]
    )
    return or_none(attributes), any(name in of for of in found for name in names)


def numeric_names(record: Mapping[str, Any], reserved: Sequence[str]) -> set[str]:
    """Names under which the record has numbers that could be attributes, for error texts.

    >>> sorted(numeric_names({"prompt": "p", "response": "r", "helpfulness": 4, "weight": 1}, ["weight"]))
    ['helpfulness']
    """
    return {
        name for name, value in _candidates(record) if name not in reserved and as_number(value) is not None
    }


def _candidates(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if record.get("chosen") is not None:
        for key, value in record.items():
            for prefix in _PAIR:
                if isinstance(key, str) and key.startswith(prefix):
                    yield key.removeprefix(prefix), value
        return
    for key in ("samples", "completions"):
        items = record.get(key)
        if isinstance(items, list):
            beside = [record[name] for name in _MAPPINGS if isinstance(record.get(name), list)]
            for entry in items:
                yield from _values_of(entry).items()
            for entry in (entry for values in beside for entry in values if isinstance(entry, dict)):
                yield from entry.items()
            return
    yield from record.items()


def _values_of(item: Any) -> dict[str, Any]:
    """Everything that an entry of a list says about its completion, by name."""
    if not isinstance(item, dict):
        return {}
    found = dict(item)
    for key in _MAPPINGS:
        if isinstance(item.get(key), dict):
            found |= item[key]
    annotations = item.get("annotations")
    for name, said in annotations.items() if isinstance(annotations, dict) else ():
        # Columnar files give every completion every aspect, null where it has none.
        found[name] = said.get("Rating") if isinstance(said, dict) else said
    return found


def _beside(record: Mapping[str, Any], num_items: int) -> list[dict[str, Any]]:
    """``ratings`` or ``scores`` beside the completions, where they are objects rather than numbers."""
    for key in _MAPPINGS:
        values = record.get(key)
        if not isinstance(values, list) or not any(isinstance(value, dict) for value in values):
            continue
        if len(values) != num_items:
            raise BadRecord(
                "length-mismatch",
                f"{len(values)} {key} for {num_items} completions",
                "Give one object for each completion; null where nothing is known.",
            )
        return [value if isinstance(value, dict) else {} for value in values]
    return [{} for _ in range(num_items)]
