"""Values of a benchmark's row as a preference group: what the suites' `to_group` are written with.

Prompts and answers stay as they are in the data. A prompt that is text becomes one user turn, an answer one
assistant turn, where the model has a chat template (`plaudit.tokens.conversation`): what the benchmarks' own
code renders. A prompt that is messages keeps its roles. An empty answer is an answer: benchmarks have some, and
leaving them out would change n.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from plaudit.preferences import Comparison, PreferenceGroup
from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.formats.messages import assistant_turn, is_message_list, read_messages
from plaudit.preferences.group import Completion, Prompt

__all__ = [
    "all_pairs",
    "as_completions",
    "make_group",
    "optional_id",
    "read_list",
    "read_prompt",
    "read_text",
]


def read_text(row: Mapping[str, Any], column: str) -> str:
    """A cell that has to be text.

    Raises:
        BadRecord: ``wrong-type``.
    """
    return _text(row[column], column)


def read_list(row: Mapping[str, Any], column: str, *, of: type = str) -> list[Any]:
    """A cell that has to be a list, or JSON text of one (CSV has nothing else), of one type.

    Raises:
        BadRecord: ``wrong-type``.
    """
    value = row[column]
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    if not isinstance(value, list) or not all(isinstance(item, of) for item in value):
        raise BadRecord(
            "wrong-type", f"{column} is {shorten(repr(value))}", f"Give {column} as a list of {of.__name__}."
        )
    return value


def read_prompt(value: Any, column: str = "prompt") -> Prompt:
    """A prompt: text, or a list of messages, of which role and content are kept.

    Raises:
        BadRecord: ``wrong-type``, or what is wrong with a message.
    """
    if is_message_list(value):
        turns = [
            {key: turn[key] for key in ("role", "content") if key in turn} if isinstance(turn, dict) else turn
            for turn in value
        ]
        return read_messages(turns, column)
    return _text(value, column)


def as_completions(prompt: Prompt, answers: Sequence[str]) -> tuple[Completion, ...]:
    """Answers in the form of their prompt: text, or one assistant turn each."""
    return tuple(answers) if isinstance(prompt, str) else tuple([(assistant_turn(a),) for a in answers])


def all_pairs(better: Sequence[int], worse: Sequence[int]) -> tuple[Comparison, ...]:
    """Each of the better completions against each of the worse, the better one varying slowest."""
    return tuple([Comparison(better=b, worse=w) for b in better for w in worse])


def make_group(
    prompt: Prompt,
    answers: Sequence[str],
    comparisons: tuple[Comparison, ...],
    *,
    row: Mapping[str, Any],
    subset: str | None,
    where: str,
    id_column: str = "id",
    ratings: Sequence[float | None] | None = None,
) -> PreferenceGroup:
    """The group of a row."""
    return PreferenceGroup(
        prompt=prompt,
        completions=as_completions(prompt, answers),
        comparisons=comparisons,
        ratings=None if ratings is None else tuple(ratings),
        subset=subset,
        id=optional_id(row, id_column),
        source=where,
    )


def optional_id(row: Mapping[str, Any], column: str) -> str | None:
    """The row's id as text, None where it has none."""
    value = row.get(column)
    return None if value is None else str(value)


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise BadRecord("wrong-type", f"{column} is {shorten(repr(value))}", f"Give {column} as text.")
    return value
