"""Messages: what a list of them must look like, written ``role``/``content`` or ``from``/``value``.

Every message that leaves here has its role and content first and in this order, so that equal messages are
equal as JSON text too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.group import Message

__all__ = [
    "ROLES",
    "assistant_turn",
    "check_completion",
    "check_prompt",
    "is_message",
    "is_message_list",
    "read_messages",
    "user_turn",
]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""The roles that chat templates know."""

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
    "function_call": "assistant",
}
"""The names of ShareGPT's ``from``, as LLaMA-Factory reads them."""


def user_turn(text: str) -> Message:
    """A user's message."""
    return {"role": "user", "content": text}


def assistant_turn(text: str) -> Message:
    """An assistant's message."""
    return {"role": "assistant", "content": text}


def is_message(value: Any) -> bool:
    """Whether the value is meant as one message, right or wrong otherwise."""
    return isinstance(value, dict) and ("role" in value or "from" in value or "content" in value)


def is_message_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether the value is meant as messages: a list whose first element is an object."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def read_messages(values: Sequence[Any], name: str) -> tuple[Message, ...]:
    """The messages in the common form.

    Raises:
        BadRecord: ``bad-message``, ``unknown-role``.
    """
    if not values:
        raise BadRecord("bad-message", f"{name} is an empty list", "Give at least one message.")
    return tuple([_read_message(value, name, index) for index, value in enumerate(values)])


def check_prompt(messages: tuple[Message, ...]) -> None:
    """Whether a prompt's messages are in order.

    Raises:
        BadRecord: ``role-order`` (a system message after the first), ``empty-prompt``.
    """
    if not messages:
        raise BadRecord(
            "empty-prompt",
            "the prompt has no messages",
            "Give the messages before the answers; without a prompt column, chosen and rejected must both "
            "begin with the same messages.",
        )
    _check_system_first(messages, 0)
    if len(messages) == 1 and _is_blank(messages[0]):
        raise BadRecord("empty-prompt", "the prompt's only message is blank", "Write the prompt.")


def check_completion(messages: tuple[Message, ...], name: str) -> None:
    """Whether a completion's messages are in order and say something.

    Raises:
        BadRecord: ``role-order``, ``empty-completion``.
    """
    _check_system_first(messages, 1)
    last = messages[-1]
    if last["role"] != "assistant":
        raise BadRecord(
            "role-order",
            f"{name} ends with a message of the {last['role']}",
            "A completion ends with the assistant's turn; remove what follows it.",
        )
    if _is_blank(last):
        raise BadRecord("empty-completion", f"the last message of {name} is blank", "Remove the record.")


def _check_system_first(messages: tuple[Message, ...], offset: int) -> None:
    for index, message in enumerate(messages, start=offset):
        if index > 0 and message["role"] in ("system", "developer"):
            raise BadRecord(
                "role-order",
                f"message {index} is a {message['role']} message, which may only come first",
                "Move it to the front, or make it a user message.",
            )


def _is_blank(message: Message) -> bool:
    content = message.get("content")
    if isinstance(content, str):
        return not content.strip() and not message.get("tool_calls")
    return not content and not message.get("tool_calls")


def _read_message(value: Any, name: str, index: int) -> Message:
    if type(value) is not dict:
        raise BadRecord(
            "bad-message",
            f"{name}[{index}] is {_kind(value)}, not an object",
            'Write a message as {"role": "user", "content": "..."}.',
        )
    if "role" not in value and "from" in value:
        return _read_sharegpt(value, name, index)
    role, content = value.get("role"), value.get("content")
    if not isinstance(role, str):
        raise _no_key(value, name, index, "role")
    if role not in ROLES:
        raise _unknown_role(role, name, index, ROLES)
    _check_content(value, name, index)
    if len(value) == 2:
        return {"role": role, "content": content}
    # Columnar files give every message every field, null where it has none; templates would see them as
    # given.
    rest = {key: item for key, item in value.items() if item is not None and key not in ("role", "content")}
    return {"role": role, "content": content, **rest}


def _check_content(message: Mapping[str, Any], name: str, index: int) -> None:
    content = message.get("content")
    if isinstance(content, str):
        return
    if content is None and _is_calls(message.get("tool_calls")):
        return
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        return
    if content is None:
        raise _no_key(message, name, index, "content")
    raise BadRecord(
        "bad-message",
        f"{name}[{index}].content is {_kind(content)}",
        'Content is text, or a list of parts such as {"type": "text", "text": "..."}.',
    )


def _is_calls(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(call, dict) for call in value)


def _read_sharegpt(value: Mapping[str, Any], name: str, index: int) -> Message:
    source, text = value["from"], value.get("value")
    role = SHAREGPT_ROLES.get(source) if isinstance(source, str) else None
    if role is None:
        raise _unknown_role(source, name, index, tuple(SHAREGPT_ROLES))
    if not isinstance(text, str):
        raise _no_key(value, name, index, "value")
    if source == "function_call":
        return {"role": role, "content": None, "tool_calls": _read_calls(text, name, index)}
    return {"role": role, "content": text}


def _read_calls(text: str, name: str, index: int) -> list[dict[str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    calls = value if isinstance(value, list) else [value]
    if not _is_calls(calls):
        raise BadRecord(
            "bad-message",
            f"{name}[{index}] is a function_call whose value is not JSON of a call: {shorten(text)!r}",
            'Write {"name": "...", "arguments": {...}}.',
        )
    return [{"type": "function", "function": call} for call in calls]


def _no_key(value: Mapping[str, Any], name: str, index: int, key: str) -> BadRecord:
    found = "null" if key in value and value[key] is None else _kind(value[key]) if key in value else "absent"
    keys = ", ".join(map(str, value)) or "none"
    return BadRecord(
        "bad-message",
        f"{name}[{index}] has no usable {key} ({found}; keys found: {keys})",
        "Every message has a role and content as text; content may be null only beside tool_calls.",
    )


def _unknown_role(role: Any, name: str, index: int, choices: tuple[str, ...]) -> BadRecord:
    return BadRecord(
        "unknown-role",
        f"{name}[{index}] has the role {shorten(repr(role))}",
        f"Use one of: {', '.join(choices)}.",
    )


def _kind(value: Any) -> str:
    return "null" if value is None else f"a value of type {type(value).__name__}"
