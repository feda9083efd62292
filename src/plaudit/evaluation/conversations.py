"""Conversations as they are, for rewards that are not computed here from token ids: a server's, or those of a file.

Guarantees: two completions with the same prompt, text, tools and template arguments are one conversation, across groups
and data sets; lengths are tokens where a tokenizer is given, characters where none is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from plaudit.errors import PlauditError
from plaudit.evaluation.equal_ids import groups_with_equal_ids
from plaudit.evaluation.plan import PlannedItem, digest_of, plan_items
from plaudit.evaluation.reward_source import PlannedSet
from plaudit.evaluation.said import num_characters
from plaudit.preferences import Preferences
from plaudit.preferences.group import Completion, PreferenceGroup, Prompt
from plaudit.tokens import LengthLimits, Renderer, TokenTable, tokenize_preferences
from plaudit.tokens.group import TokenGroup

__all__ = ["Conversation", "conversation_key", "item_key", "plan_conversations"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A prompt with one of its completions, and where it was read."""

    prompt: Prompt
    """Text, or the messages so far."""
    completion: Completion
    """Text, or the messages that answer."""
    tools: tuple[Mapping[str, Any], ...] | None
    """Tool schemas, for the chat template."""
    chat_template_kwargs: Mapping[str, Any]
    """Further arguments of the template."""
    id: str | None
    """The record's own name."""
    index: int
    """Which of the group's completions it is, from 0."""
    source: str
    """Where it was read."""
    num_tokens: int = 0
    """Tokens of the whole conversation; 0 where there is no tokenizer to count them."""


def conversation_key(
    prompt: Prompt | Sequence[Any],
    completion: Completion | Sequence[Any],
    tools: Sequence[Any] | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> bytes:
    """16 bytes that name a conversation: BLAKE2b of the JSON text of what the model is given.

    The JSON is the list of the four arguments, what is empty as null, with Python's separators and no escapes. The keys
    of a message are in the order of their names but for ``role``, which is first; those that are null, at any depth
    (Parquet has them where another row has a value), are left out.

    >>> conversation_key("2+2?", "4").hex()
    'c344c6215d493f9650e2f1210ca7d1c2'
    """
    parts = [_plain_turns(prompt), _plain_turns(completion), tools or None, chat_template_kwargs or None]
    return digest_of(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _plain_turns(part: Prompt | Completion | Sequence[Any]) -> Any:
    if isinstance(part, str):
        return part
    turns = [_without_nulls(turn) for turn in part]
    return [
        {key: turn[key] for key in sorted(turn, key=lambda key: (key != "role", key))}
        if isinstance(turn, dict)
        else turn
        for turn in turns
    ]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list | tuple) else value


def item_key(c: Conversation, *, by_id: bool = False) -> bytes:
    """The key of a conversation.

    Args:
        c: The conversation.
        by_id: Whether conversations of different records are different though their texts are the same.
    """
    key = conversation_key(c.prompt, c.completion, c.tools, c.chat_template_kwargs)
    return digest_of(key + json.dumps([c.id, c.index]).encode()) if by_id else key


def plan_conversations(
    preferences: Preferences, limits: LengthLimits, renderer: Renderer | None, *, by_id: bool, progress: bool
) -> PlannedSet:
    """What of some data has to be scored, as conversations.

    Args:
        preferences: The data.
        limits: Length limits in tokens; without a renderer there can be none.
        renderer: Counts tokens and applies the limits; None leaves lengths in characters.
        by_id: As in `item_key`.
        progress: Whether progress is shown.

    Raises:
        PlauditError: Limits without a renderer, limits that would cut a prompt (the server would get the whole), or
            what tokenising raises.
    """
    if limits.on_overlength == "truncate-prompt" and limits != LengthLimits(on_overlength="truncate-prompt"):
        raise PlauditError(
            "a prompt cannot be cut here: the rewards are of whole conversations",
            where="--on-overlength truncate-prompt",
            fix="Choose drop or error.",
        )
    tokens = None
    if renderer is not None:
        tokens = tokenize_preferences(preferences, renderer, limits, progress=progress)
        assert isinstance(tokens, TokenTable), "a preference table becomes a token table"
    elif limits.max_length is not None or limits.max_prompt_length is not None:
        raise PlauditError(
            "a length limit in tokens needs a tokenizer",
            where="--max-length",
            fix="Name the folder of one: --tokenizer.",
        )

    def item_of(tokens: TokenGroup, group: PreferenceGroup, k: int, completion: int) -> PlannedItem:
        length = len(tokens.sequences[k])
        text = group.completions[completion]
        own = length - tokens.num_prompt_tokens if renderer is not None else num_characters(text)
        conversation = Conversation(
            prompt=group.prompt,
            completion=text,
            tools=group.tools,
            chat_template_kwargs=group.chat_template_kwargs,
            id=group.id,
            index=completion,
            source=group.source,
            num_tokens=length,
        )
        return conversation, item_key(conversation, by_id=by_id), own

    groups = (
        _untokenized(preferences)
        if tokens is None or renderer is None
        else groups_with_equal_ids(tokens, preferences, renderer, limits)
    )
    return PlannedSet(
        plan=plan_items(groups, preferences, item_of),
        tokenizing=None if tokens is None else tokens.report,
        settings={
            "limits": asdict(limits),
            "rendering": None if renderer is None else asdict(renderer.rule),
            "length_unit": "characters" if renderer is None else "tokens",
        },
    )


def _untokenized(preferences: Preferences) -> Iterator[tuple[TokenGroup, PreferenceGroup]]:
    """What each group compares, with sequences that are empty."""
    nothing = np.empty(0, dtype=np.int32)
    for row, group in enumerate(preferences):
        comparisons = group.comparisons
        yield (
            TokenGroup(
                sequences=(nothing,) * len(group.completions),
                num_prompt_tokens=0,
                better=np.array([c.better for c in comparisons], dtype=np.int32),
                worse=np.array([c.worse for c in comparisons], dtype=np.int32),
                margin=np.array([c.margin for c in comparisons], dtype=np.float32),
                weight=np.array([c.weight for c in comparisons], dtype=np.float32),
                is_tie=np.array([c.is_tie for c in comparisons], dtype=np.bool_),
                row=row,
            ),
            group,
        )
