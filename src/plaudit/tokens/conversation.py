"""Prompt and completion as one list of messages, in the one form that every chat template reads.

A content given as a list of text parts becomes their concatenation, so that the same words have the same
reward in either form. What is not text is an error: a template would put a placeholder where the model sees
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.errors import PlauditError
from plaudit.preferences.group import Completion, Message, Prompt

__all__ = ["as_messages", "conversation"]

TEXT_PART_TYPES = ("text", "input_text", "output_text")
"""The names that the OpenAI chat and responses formats give to a part that is text."""


def conversation(prompt: Prompt, completion: Completion | None, *, source: str = "") -> list[dict[str, Any]]:
    """The messages of prompt and completion; of the prompt alone when the completion is None.

    Plain text becomes one user and one assistant message.

    Raises:
        PlauditError: Text and messages are mixed, or a message cannot be read.

    >>> conversation("Hello?", "Hi.")
    [{'role': 'user', 'content': 'Hello?'}, {'role': 'assistant', 'content': 'Hi.'}]
    """
    if completion is not None and isinstance(prompt, str) != isinstance(completion, str):
        raise PlauditError(
            "the prompt is text and the completion is messages, or the other way round",
            where=source or None,
            fix="Give both as text or both as messages.",
        )
    return _turns(prompt, "user", source) + (
        [] if completion is None else _turns(completion, "assistant", source)
    )


def as_messages(messages: Sequence[Message], *, source: str = "") -> list[dict[str, Any]]:
    """Messages as plain dicts, with text parts joined.

    Raises:
        PlauditError: A message without a role, or with a part that is not text.

    >>> as_messages([{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}])
    [{'role': 'user', 'content': 'Hello?'}]
    """
    return [_message(message, index, source) for index, message in enumerate(messages)]


def _turns(value: Prompt | Completion, role: str, source: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return as_messages(value, source=source)


def _message(message: Message, index: int, source: str) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise PlauditError(
            f"message {index} has no role: {str(message)[:80]!r}",
            where=source or None,
            fix='Give every message a "role" and a "content".',
        )
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        return {**message, "content": "".join(_part_text(part, index, source) for part in content)}
    return dict(message)


def _part_text(part: object, index: int, source: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type", "text") in TEXT_PART_TYPES:
        text = part.get("text")
        if isinstance(text, str):
            return text
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise PlauditError(
        f"message {index} has a part of type {kind!r}; only text is scored",
        where=source or None,
        fix="Remove the part, or replace it by text.",
    )
