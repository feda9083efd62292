"""What a format's parser hands over, and the rules of every format, which are checked once, here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.formats.distinct import Attributes
from plaudit.preferences.formats.messages import check_completion, check_prompt
from plaudit.preferences.group import Comparison, Completion, PreferenceGroup, Prompt

__all__ = ["Draft", "Judgement", "finish", "read_number"]

Judgement = tuple[int, int, bool]
"""Index of the better completion, index of the worse one, whether it is a tie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A parsed record before the rules and columns that all formats share."""

    format: str
    """The name under which the report counts it."""
    prompt: Prompt
    """Text or messages."""
    completions: tuple[Completion, ...]
    """Text or messages, as the prompt is."""
    judgements: tuple[Judgement, ...]
    """What was compared."""
    ratings: tuple[float | None, ...] | None = None
    """One per completion."""
    attributes: Attributes | None = None
    """[K][A], None where nothing is known."""
    names: tuple[str, ...] = ()
    """What the record calls each completion, for error texts."""
    allows_empty: bool = False
    """Whether an empty completion counts (a policy may answer with nothing)."""
    notes: tuple[str, ...] = ()
    """Decisions to be counted in the report."""


def finish(draft: Draft, record: Mapping[str, Any], source: str) -> PreferenceGroup:
    """The group: the draft, checked, with the record's optional columns.

    Raises:
        BadRecord: An empty or doubled completion, roles out of order, a bad margin, weight, tools or kwargs.
    """
    _check_texts(draft)
    is_tie = _is_labelled_tie(record)
    if draft.judgements:
        _check_distinct(draft, is_tie)
    margin = read_number(record, "margin", "bad-margin", default=0.0)
    weight = read_number(record, "weight", "bad-weight", default=1.0, above=0.0)
    return PreferenceGroup(
        prompt=draft.prompt,
        completions=draft.completions,
        comparisons=tuple(
            [
                Comparison(better=better, worse=worse, margin=margin, weight=weight, is_tie=tie or is_tie)
                for better, worse, tie in draft.judgements
            ]
        ),
        ratings=draft.ratings,
        attributes=draft.attributes,
        tools=_read_tools(record.get("tools")),
        chat_template_kwargs=_read_kwargs(record.get("chat_template_kwargs")),
        subset=_read_name(record, "subset"),
        id=_read_name(record, "id"),
        source=source,
    )


def read_number(
    record: Mapping[str, Any], key: str, reason: str, *, default: float, above: float | None = None
) -> float:
    """A finite number of the record, or the default where it is absent or null.

    Raises:
        BadRecord: With ``reason``: it is no number, not finite, or not above ``above``.
    """
    value = record.get(key)
    if value is None:
        return default
    number = as_finite(value)
    if number is None or (above is not None and number <= above):
        wanted = "a finite number" if above is None else f"a finite number above {above:g}"
        raise BadRecord(reason, f"{key} is {shorten(repr(value))}", f"Give {wanted}, or leave the key out.")
    return number


def as_finite(value: Any) -> float | None:
    """The value as a float, None where it is no finite number. Booleans are no numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        return None
    return number if math.isfinite(number) else None


def _check_texts(draft: Draft) -> None:
    if not isinstance(draft.prompt, str):
        check_prompt(draft.prompt)
    for index, completion in enumerate(draft.completions):
        if not isinstance(completion, str):
            if not draft.allows_empty or completion[-1]["role"] != "assistant":
                check_completion(completion, _name(draft, index))
        elif not draft.allows_empty and not completion.strip():
            what = "empty" if not completion else f"only white space ({len(completion)} characters)"
            raise BadRecord("empty-completion", f"{_name(draft, index)} is {what}", "Remove the record.")


def _check_distinct(draft: Draft, is_tie: bool) -> None:
    completions = draft.completions
    for better, worse, tie in draft.judgements:
        if completions[better] == completions[worse] and not (tie or is_tie):
            length = len(completions[better]) if isinstance(completions[better], str) else None
            size = f" ({length:,} characters)" if length is not None else ""
            raise BadRecord(
                "identical-completions",
                f"{_name(draft, better)} and {_name(draft, worse)} are the same{size}",
                'Remove the record, or keep it as a tie with "label": "tie".',
            )


def _name(draft: Draft, index: int) -> str:
    return draft.names[index] if draft.names else f"completions[{index}]"


def _is_labelled_tie(record: Mapping[str, Any]) -> bool:
    label = record.get("label")
    return isinstance(label, str) and label.lower() == "tie"


def _read_tools(value: Any) -> tuple[Mapping[str, Any], ...] | None:
    tools = _parse(value)
    if tools is None or tools == "" or tools == []:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRecord(
            "bad-tools",
            f"tools is {shorten(repr(value))}",
            "Give a list of tool schemas (objects), or JSON text of such a list.",
        )
    return tuple(tools)


def _read_kwargs(value: Any) -> Mapping[str, Any]:
    kwargs = _parse(value)
    if kwargs is None or kwargs == "":
        return {}
    if not isinstance(kwargs, dict):
        raise BadRecord(
            "bad-chat-template-kwargs",
            f"chat_template_kwargs is {shorten(repr(value))}",
            "Give an object of arguments for the chat template, or JSON text of one.",
        )
    return kwargs


def _parse(value: Any) -> Any:
    """JSON text as its value; text that is no JSON stays text, and is then refused by its type."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _read_name(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise BadRecord("wrong-type", f"{key} is {shorten(repr(value))}", f"Give {key} as text or a number.")
