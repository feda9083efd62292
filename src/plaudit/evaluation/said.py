"""What a prompt or completion says: its text, without roles and what is not text."""

from __future__ import annotations

from plaudit.preferences.group import Completion, Prompt

__all__ = ["num_characters", "said"]


def said(part: Prompt | Completion) -> str:
    """Plain text as it is; of messages their texts, one after the other on lines of their own.

    >>> said(({"role": "user", "content": "One"}, {"role": "user", "content": [{"type": "text", "text": "two"}]}))
    'One\\ntwo'
    """
    if isinstance(part, str):
        return part
    return "\n".join(text for message in part for text in _texts_of(message.get("content")))


def num_characters(completion: Completion) -> int:
    """Characters of what is said: plain text, or the text content of all messages.

    >>> num_characters("four")
    4
    >>> num_characters(({"role": "assistant", "content": [{"type": "text", "text": "fo"}, {"text": "ur"}]},))
    4
    """
    if isinstance(completion, str):
        return len(completion)
    return sum(len(text) for message in completion for text in _texts_of(message.get("content")))


def _texts_of(content: object) -> list[str]:
    """A message's content is text, a list of parts of which some are text, or absent (a tool call)."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list | tuple) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
