"""Messages through the tokenizer's chat template, with errors that name the record.

A template is a program that someone else wrote: it may refuse a role, demand that roles alternate, or read
the clock. The first two become an error that names the record's source; the last a warning, since a
rendering that changes with the date changes every reward overnight.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jinja2
from transformers import PreTrainedTokenizerBase

from plaudit.errors import PlauditError

__all__ = ["Tools", "apply_template", "messages_need_template", "warn_of_template"]

Tools: TypeAlias = Sequence[Mapping[str, Any]] | None
"""Tool schemas that the template renders."""

REFUSALS = (jinja2.TemplateError, TypeError, ValueError, AttributeError, LookupError)
"""What a template raises: on purpose (`raise_exception`), or by stumbling over an unforeseen record."""


def apply_template(
    tokenizer: PreTrainedTokenizerBase,
    turns: list[dict[str, Any]],
    tools: Tools,
    arguments: Mapping[str, Any],
    *,
    add_generation_prompt: bool = False,
    source: str = "",
) -> str:
    """The conversation as the tokenizer's chat template writes it.

    Raises:
        PlauditError: The template refuses the conversation; `source` and the roles are named.
    """
    try:
        text = tokenizer.apply_chat_template(
            turns,
            tools=None if tools is None else [dict(tool) for tool in tools],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **arguments,
        )
    except REFUSALS as error:
        roles = ", ".join(str(turn.get("role")) for turn in turns) or "none"
        raise PlauditError(
            f"the chat template refuses the conversation (roles: {roles}): {error}",
            where=source or None,
            fix="Change the record's roles, skip the record, or give another template with --chat-template-path.",
        ) from error
    return str(text)


def messages_need_template(has_template: bool, source: str = "") -> PlauditError:
    """The error for messages where the rendering is plain text."""
    if has_template:
        return PlauditError(
            "the record holds messages, and plain text is rendered",
            where=source or None,
            fix="Choose --render chat.",
        )
    return PlauditError(
        "the record holds messages, and the tokenizer has no chat template",
        where=source or None,
        fix="Give a chat template file with --chat-template-path, or data whose prompts and completions are text.",
    )


def warn_of_template(
    tokenizer: PreTrainedTokenizerBase, eos_token: str | None, arguments: Mapping[str, Any]
) -> None:
    """Warn of an end-of-sequence token that the template never reads, and of a template that dates."""
    template = tokenizer.chat_template
    text = template if isinstance(template, str) else json.dumps(template)
    if eos_token is not None and "eos_token" not in text:
        warnings.warn(
            f"--eos-token {eos_token!r} has no effect: the chat template decides how a conversation ends and "
            "does not read eos_token.",
            stacklevel=4,
        )
    if "strftime_now" in text and "date_string" not in arguments:
        warnings.warn(
            "the chat template writes today's date, so rewards change from day to day. Fix the date with the "
            'chat template argument date_string, for example "26 Jul 2024".',
            stacklevel=4,
        )
