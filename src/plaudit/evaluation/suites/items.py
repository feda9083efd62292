"""The unit of a suite: one preference group with the rewards of its K completions.

Guarantees: there is one item for every group of the table, in its order, whether it was scored or not; a reward
that is not there is NaN, so that a suite can count what it lacks.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.said import num_characters
from plaudit.preferences.group import Comparison, Completion, PreferenceGroup

__all__ = ["GroupTable", "ScoredItem", "items_of"]


@runtime_checkable
class GroupTable(Protocol):
    """Preference groups with a length: `plaudit.preferences.Preferences`, or a list of groups."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[PreferenceGroup]: ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoredItem:
    """A group's K completions with their rewards, and what the data say about them."""

    id: str | None
    """The record's own name in its source."""
    subset: str | None
    """The part of the data set it belongs to."""
    rewards: np.ndarray
    """float64 [K]: raw rewards; NaN for a completion that was not scored."""
    comparisons: tuple[Comparison, ...]
    """All comparisons of the group, in the order of the data, scored or not."""
    is_correct: np.ndarray
    """bool [K]: never the worse one of a comparison that is no tie."""
    group: int
    """Row of the preference table."""
    num_tokens: np.ndarray
    """int64 [K]: length as the model reads it, prompt excluded; -1 where it was not scored."""
    num_characters: np.ndarray
    """int64 [K]: length of the text."""
    prompt: int = -1
    """Items with the same number share their prompt and depend on each other; -1: it stands alone."""
    ratings: np.ndarray | None = None
    """float64 [K]: what the data rate each completion with, NaN where unknown; None without ratings."""

    @property
    def is_scored(self) -> bool:
        """Whether all K completions have a reward."""
        return not bool(np.isnan(self.rewards).any())


def items_of(rows: ComparisonRows, preferences: GroupTable) -> list[ScoredItem]:
    """The items of an evaluation.

    Two completions of a group that the tokenizer turned into the same ids are one sequence, and comparisons
    between them are not among the rows. A benchmark counts them, as ties: a completion without a reward takes that
    of another one of its group with the same text (white space at the ends apart). Where none of them was scored,
    because they are too long, none has a reward.

    Args:
        rows: Comparisons with their rewards.
        preferences: The table that the rows point into.
    """
    order = np.argsort(rows.group, kind="stable")
    starts = np.searchsorted(rows.group[order], np.arange(len(preferences) + 1))
    prompts: dict[bytes, int] = {}
    items = []
    for row, group in enumerate(preferences):
        chosen = order[starts[row] : starts[row + 1]]
        digest = hashlib.blake2b(json.dumps(group.prompt).encode(), digest_size=16).digest()
        items.append(_item(group, row, rows, chosen, prompts.setdefault(digest, len(prompts))))
    return items


def _item(
    group: PreferenceGroup, row: int, rows: ComparisonRows, chosen: np.ndarray, prompt: int
) -> ScoredItem:
    num_completions = len(group.completions)
    rewards = np.full(num_completions, math.nan)
    num_tokens = np.full(num_completions, -1, dtype=np.int64)
    for side, sequence in (("better", rows.better), ("worse", rows.worse)):
        completion = getattr(rows, f"completion_{side}")[chosen]
        rewards[completion] = rows.sequence_reward[sequence[chosen]]
        num_tokens[completion] = getattr(rows, f"num_tokens_{side}")[chosen]
    _fill_identical(group.completions, rewards, num_tokens)
    is_correct = np.ones(num_completions, dtype=np.bool_)
    is_correct[[c.worse for c in group.comparisons if not c.is_tie]] = False
    ratings = None if group.ratings is None else np.array(group.ratings, dtype=np.float64)
    return ScoredItem(
        id=group.id,
        subset=group.subset,
        rewards=rewards,
        comparisons=group.comparisons,
        is_correct=is_correct,
        group=row,
        num_tokens=num_tokens,
        num_characters=np.array([num_characters(c) for c in group.completions], dtype=np.int64),
        prompt=prompt,
        ratings=ratings,
    )


def _fill_identical(completions: tuple[Completion, ...], rewards: np.ndarray, num_tokens: np.ndarray) -> None:
    """Give completions without a reward that of the same text, in place."""
    if not np.isnan(rewards).any():
        return
    keys = [_stripped(completion) for completion in completions]
    known = {key: k for k, key in enumerate(keys) if not math.isnan(rewards[k])}
    for k, key in enumerate(keys):
        if math.isnan(rewards[k]) and key in known:
            rewards[k], num_tokens[k] = rewards[known[key]], num_tokens[known[key]]


def _stripped(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion.strip()
    return json.dumps([{**turn, "content": _stripped_content(turn.get("content"))} for turn in completion])


def _stripped_content(content: object) -> object:
    return content.strip() if isinstance(content, str) else content
