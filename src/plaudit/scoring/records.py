"""A record to score: which conversations it holds, and the record with its rewards.

``prompt`` with ``completion`` gets a ``reward``, ``prompt`` with ``completions`` gets ``rewards``, ``messages`` (a
whole conversation) gets a ``reward``. Whatever else is asked for has one name: of a list of completions it is a list.
All other fields stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plaudit.errors import PlauditError
from plaudit.preferences.bad_record import BadRecord
from plaudit.scoring.scorer import Scorer

__all__ = ["RecordToScore", "bad_record_line", "read_record_to_score", "to_line"]

ADDED = ("reward", "rewards", "error", "num_tokens")
"""Fields that scoring adds, besides those that are asked for; a record that has one already would lose it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordToScore:
    """A record and its conversations as token ids."""

    record: Mapping[str, Any]
    """As it was read."""
    sequences: tuple[np.ndarray, ...]
    """int32 ids of each conversation."""
    is_list: bool
    """Whether it has ``completions``, and so gets ``rewards``."""

    def scored(self, columns: Mapping[str, Sequence[Any]], *, details: bool) -> dict[str, Any]:
        """The record with its rewards, and with ``num_tokens`` where details are asked for.

        Args:
            columns: Values of each conversation by name; among them ``reward``.
            details: Whether ``num_tokens`` is added.
        """
        if details:
            columns = {**columns, "num_tokens": [len(ids) for ids in self.sequences]}
        if not self.is_list:
            return {**self.record, **{name: values[0] for name, values in columns.items()}}
        lists = {name: list(values) for name, values in columns.items()}
        return {**self.record, "rewards": lists.pop("reward"), **lists}


def read_record_to_score(
    value: Any, scorer: Scorer, where: str, *, asked_for: Sequence[str] = ()
) -> RecordToScore:
    """The conversations of a decoded record.

    Args:
        value: The record.
        scorer: Renders them.
        where: File and line.
        asked_for: Names of fields that will be added besides `ADDED`.

    Raises:
        BadRecord: A key is missing or of the wrong type, or the conversation cannot be rendered.
        PlauditError: The record has a field of the name that scoring would add.
    """
    if not isinstance(value, dict):
        kind = "null" if value is None else type(value).__name__
        raise BadRecord(
            "not-an-object", f"the record is a JSON {kind}", "Write one JSON object on each line."
        )
    _check_free(value, where, (*ADDED, *asked_for))
    _check_encodable(value)
    try:
        return _rendered(value, scorer, where)
    except PlauditError as error:
        raise BadRecord("bad-message", error.what, error.fix or "") from error


def to_line(record: Mapping[str, Any]) -> bytes:
    """A record as one line of JSON."""
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a surrogate pair, in a record that could not be scored
        return (json.dumps(record) + "\n").encode()


def bad_record_line(value: Any, error: str) -> bytes:
    """The line of a record that could not be scored: its fields where it has any, ``reward`` null, ``error``."""
    fields = value if isinstance(value, dict) else {}
    return to_line({**fields, "reward": None, "error": error})


def _rendered(record: Mapping[str, Any], scorer: Scorer, where: str) -> RecordToScore:
    if "messages" in record and "prompt" not in record:
        messages = _messages(record["messages"], "messages")
        ids = scorer.renderer.token_ids_of_messages(messages, *_template_arguments(record), source=where)
        return RecordToScore(record=record, sequences=(ids,), is_list=False)
    prompt = _prompt(record)
    completions, is_list = _completions(record)
    tools, kwargs = _template_arguments(record)
    sequences = []
    for completion in completions:
        if tools or kwargs:
            ids = scorer.renderer.token_ids(prompt, completion, tools, kwargs, source=where)
        else:
            ids = scorer.token_ids(prompt, completion)
        sequences.append(ids)
    return RecordToScore(record=record, sequences=tuple(sequences), is_list=is_list)


def _prompt(record: Mapping[str, Any]) -> Any:
    if record.get("prompt") is None:
        keys = ", ".join(record) or "no keys"
        raise BadRecord(
            "missing-key",
            f"there is neither prompt nor messages (the record has {keys})",
            'Write "prompt" with "completion" or "completions", or "messages".',
        )
    prompt = record["prompt"]
    return prompt if isinstance(prompt, str) else _messages(prompt, "prompt")


def _completions(record: Mapping[str, Any]) -> tuple[list[Any], bool]:
    """The completions in the form of the prompt, and whether they came as a list."""
    given = [key for key in ("completion", "completions") if record.get(key) is not None]
    if len(given) != 1:
        what = "both completion and completions" if given else "neither completion nor completions"
        raise BadRecord("missing-key", f"there is {what}", "Write one of the two.")
    is_list = given == ["completions"]
    values = record["completions"] if is_list else [record["completion"]]
    if not isinstance(values, list) or not values:
        raise BadRecord("wrong-type", "completions is no list with something in it", "Write a list of texts.")
    is_text = isinstance(record["prompt"], str)
    return [_completion(value, is_text, f"{given[0]}[{i}]") for i, value in enumerate(values)], is_list


def _completion(value: Any, prompt_is_text: bool, name: str) -> Any:
    if not isinstance(value, str):
        messages = _messages(value, name)
        if prompt_is_text:
            raise BadRecord("mixed-kinds", f"the prompt is text and {name} is messages", "Write both alike.")
        return messages
    return value if prompt_is_text else ({"role": "assistant", "content": value},)


def _messages(value: Any, name: str) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise BadRecord(
            "wrong-type", f"{name} is neither text nor a list of messages", "Write role and content of each."
        )
    return tuple(value)


def _template_arguments(record: Mapping[str, Any]) -> tuple[Any, Any]:
    tools, kwargs = record.get("tools"), record.get("chat_template_kwargs")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(t, dict) for t in tools)):
        raise BadRecord("bad-tools", "tools is no list of objects", "Write a list of tool schemas.")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise BadRecord("bad-chat-template-kwargs", "chat_template_kwargs is no object", "Write an object.")
    return tools, kwargs


def _check_free(record: Mapping[str, Any], where: str, added: Sequence[str]) -> None:
    taken = [name for name in added if name in record]
    if taken:
        raise PlauditError(
            f"the record has a field {taken[0]!r} already, which scoring would replace",
            where=where,
            fix="Rename the field; or take it out, where it is of an earlier scoring.",
        )


def _check_encodable(record: Mapping[str, Any]) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRecord(
            "lone-surrogate", "a text holds half a surrogate pair", "Write the character in whole."
        ) from error
