"""Preference groups to uncut token groups: many in one call of the tokenizer, each text encoded once.

A fast tokenizer is quick only in batches. What belongs to the prompt is decided on ids, not on characters: a
token may span the boundary between prompt and completion, and some templates write a prompt differently alone
than followed by its completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from plaudit.preferences.group import PreferenceGroup
from plaudit.tokens.group import TokenGroup
from plaudit.tokens.rendering import Renderer

__all__ = ["num_shared_tokens", "render_groups"]


def render_groups(
    renderer: Renderer, groups: Sequence[PreferenceGroup], rows: Sequence[int] | None = None
) -> list[TokenGroup]:
    """The groups as token ids with nothing cut, dropped or merged.

    `num_prompt_tokens` is the longest beginning that the ids of the prompt alone share with all K sequences.

    Args:
        renderer: The one rendering.
        groups: What to render.
        rows: Their rows in the preference table, kept in `TokenGroup.row`; -1 when not given.

    Raises:
        PlauditError: A group that cannot be rendered, naming its source.
    """
    texts = [_completion_texts(renderer, group) for group in groups]
    prompts = [
        renderer.render_prompt(g.prompt, g.tools, g.chat_template_kwargs, source=g.source) for g in groups
    ]
    sources = {text: group.source for group, of_group in zip(groups, texts, strict=True) for text in of_group}
    prompt_sources = {p: g.source for g, p in zip(groups, prompts, strict=True) if p is not None}
    # A dict's keys and values walk in the same order, so the ids belong to the keys in turn.
    ids = renderer.token_ids_of_texts(list(sources), sources=list(sources.values()))
    prompt_ids = renderer.token_ids_of_prompts(list(prompt_sources), sources=list(prompt_sources.values()))
    ids_of = dict(zip(sources, ids, strict=True))
    prompt_ids_of = dict(zip(prompt_sources, prompt_ids, strict=True))
    return [
        _token_group(
            group, [ids_of[text] for text in of_group], None if prompt is None else prompt_ids_of[prompt], row
        )
        for group, of_group, prompt, row in zip(
            groups, texts, prompts, [-1] * len(groups) if rows is None else rows, strict=True
        )
    ]


def num_shared_tokens(first: np.ndarray, second: np.ndarray) -> int:
    """Length of the longest common beginning of two id sequences.

    >>> num_shared_tokens(np.array([1, 2, 3]), np.array([1, 2, 4, 5]))
    2
    """
    length = min(len(first), len(second))
    differs = np.flatnonzero(first[:length] != second[:length])
    return int(differs[0]) if len(differs) else length


def _completion_texts(renderer: Renderer, group: PreferenceGroup) -> list[str]:
    return [
        renderer.render_text(
            group.prompt, completion, group.tools, group.chat_template_kwargs, source=group.source
        )
        for completion in group.completions
    ]


def _token_group(
    group: PreferenceGroup, sequences: list[np.ndarray], prompt_ids: np.ndarray | None, row: int
) -> TokenGroup:
    comparisons = group.comparisons
    return TokenGroup(
        sequences=tuple(sequences),
        num_prompt_tokens=_num_prompt_tokens(sequences, prompt_ids),
        better=np.array([c.better for c in comparisons], dtype=np.int32),
        worse=np.array([c.worse for c in comparisons], dtype=np.int32),
        margin=np.array([c.margin for c in comparisons], dtype=np.float32),
        weight=np.array([c.weight for c in comparisons], dtype=np.float32),
        is_tie=np.array([c.is_tie for c in comparisons], dtype=np.bool_),
        ratings=_with_nan(group.ratings),
        attributes=_with_nan(group.attributes),
        row=row,
    )


def _with_nan(numbers: Sequence[Any] | None) -> np.ndarray | None:
    """float32 of the same shape; None becomes NaN."""
    return None if numbers is None else np.array(numbers, dtype=np.float32)


def _num_prompt_tokens(sequences: list[np.ndarray], prompt_ids: np.ndarray | None) -> int:
    """Tokens shared with the prompt alone; a sequence's last token never counts, it carries the reward."""
    if prompt_ids is None:
        return 0
    return max(0, min(min(num_shared_tokens(prompt_ids, ids), len(ids) - 1) for ids in sequences))
