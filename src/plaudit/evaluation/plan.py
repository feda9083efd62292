"""Which sequences an evaluation has to score: each distinct one once, and only those that a comparison names.

Guarantees: two token sequences with the same ids are one entry, across groups too; the order of comparisons is the
order of the data; both sides of a comparison may be one entry, and tie. Where the rewards come from a server or a
file, conversations take the place of token sequences, and each distinct conversation is one entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.said import num_characters
from plaudit.preferences.group import PreferenceGroup
from plaudit.tokens.group import TokenGroup

__all__ = [
    "EvaluationPlan",
    "PlannedItem",
    "PreferenceRows",
    "digest_of",
    "item_of_tokens",
    "key_of_ids",
    "plan_evaluation",
    "plan_items",
]

PlannedItem: TypeAlias = tuple[Any, bytes, int]
"""What is scored (token ids, or a conversation), the 16 bytes that name it, and the length of its completion."""


@runtime_checkable
class PreferenceRows(Protocol):
    """Preference groups by row: `plaudit.preferences.Preferences`, or a list of groups."""

    def __getitem__(self, index: int, /) -> PreferenceGroup: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPlan:
    """The sequences to score, and the comparisons that wait for their rewards."""

    sequences: tuple[Any, ...]
    """What is scored: int32 ids of each distinct sequence, or each distinct conversation."""
    keys: tuple[bytes, ...]
    """16 bytes for each, a hash of what it is: the same in every data set and every run."""
    rows: ComparisonRows
    """The comparisons; rewards are NaN."""
    num_groups_without_comparisons: int
    """Groups that say nothing about which completion is better (ratings only): they are not scored."""


def plan_evaluation(tokens: Iterable[TokenGroup], preferences: PreferenceRows) -> EvaluationPlan:
    """The plan for token groups whose `row` points into ``preferences``.

    Args:
        tokens: The groups after rendering.
        preferences: The preference table that they came from: lengths of texts and subsets are read there.
    """
    return plan_items(((group, None) for group in tokens), preferences, item_of_tokens)


def item_of_tokens(tokens: TokenGroup, group: PreferenceGroup, k: int, completion: int) -> PlannedItem:
    """A token sequence as what is scored; for `plan_items`."""
    ids = tokens.sequences[k]
    return ids, key_of_ids(ids), len(ids) - tokens.num_prompt_tokens


def plan_items(
    tokens: Iterable[tuple[TokenGroup, PreferenceGroup | None]],
    preferences: PreferenceRows,
    item_of: Callable[[TokenGroup, PreferenceGroup, int, int], PlannedItem],
) -> EvaluationPlan:
    """The plan when what is scored is not the token sequences themselves.

    Args:
        tokens: The groups, each with its preference group where that is at hand already.
        preferences: The preference table.
        item_of: Called with both groups, the index of the completion among the token group's sequences and its
            index in the preference group.
    """
    draft = _Draft()
    for group, of_table in tokens:
        draft.add(group, preferences[group.row] if of_table is None else of_table, item_of)
    return draft.finish()


def key_of_ids(ids: np.ndarray) -> bytes:
    """The key of a token sequence."""
    return digest_of(np.ascontiguousarray(ids, dtype=np.int32).tobytes())


def digest_of(content: bytes) -> bytes:
    """16 bytes that stand for the content: no second copy of all tokens in the keys of a dict."""
    return hashlib.blake2b(content, digest_size=16).digest()


@dataclass(kw_only=True, slots=True)
class _Draft:
    """What is gathered while groups go by: lists that become the arrays of `ComparisonRows`."""

    sequences: list[Any] = field(default_factory=list)
    sequence_num_tokens: list[int] = field(default_factory=list)
    index_of_key: dict[bytes, int] = field(default_factory=dict)
    index_of_prompt: dict[bytes, int] = field(default_factory=dict)
    index_of_subset: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in _DTYPES})
    num_without: int = 0

    def add(
        self,
        tokens: TokenGroup,
        group: PreferenceGroup,
        item_of: Callable[[TokenGroup, PreferenceGroup, int, int], PlannedItem],
    ) -> None:
        """One more group."""
        n = len(tokens.better)
        if n == 0:
            self.num_without += 1
            return
        completion = _index_or_all(
            tokens.completion_index, len(tokens.sequences), len(group.completions), group
        )
        comparison = _index_or_all(tokens.comparison_index, n, len(group.comparisons), group)
        sequence, characters, num_tokens = self._add_completions(tokens, group, completion, item_of)
        self._extend(
            group=np.full(n, tokens.row),
            prompt=np.full(n, self._prompt_index(group)),
            comparison=comparison,
            completion_better=completion[tokens.better],
            completion_worse=completion[tokens.worse],
            better=sequence[tokens.better],
            worse=sequence[tokens.worse],
            subset=np.full(n, self._subset_code(group.subset)),
            required_margin=tokens.margin,
            weight=tokens.weight,
            is_tie=tokens.is_tie,
            num_characters_better=characters[tokens.better],
            num_characters_worse=characters[tokens.worse],
            num_tokens_better=num_tokens[tokens.better],
            num_tokens_worse=num_tokens[tokens.worse],
        )

    def finish(self) -> EvaluationPlan:
        """The plan of all groups added."""
        columns = {
            name: np.concatenate(parts) if parts else np.empty(0, dtype=_DTYPES[name])
            for name, parts in self.columns.items()
        }
        rows = ComparisonRows(
            **columns,
            sequence_reward=np.full(len(self.sequences), np.nan, dtype=np.float32),
            sequence_num_tokens=np.array(self.sequence_num_tokens, dtype=np.int64),
            subset_names=tuple(self.index_of_subset),
        )
        return EvaluationPlan(
            sequences=tuple(self.sequences),
            keys=tuple(self.index_of_key),
            rows=rows,
            num_groups_without_comparisons=self.num_without,
        )

    def _add_completions(
        self,
        tokens: TokenGroup,
        group: PreferenceGroup,
        completion: np.ndarray,
        item_of: Callable[[TokenGroup, PreferenceGroup, int, int], PlannedItem],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sequence index, characters and tokens of each of the K completions; -1 for those never compared."""
        of_each = np.full((3, len(completion)), -1, dtype=np.int64)
        for k in np.unique(np.concatenate([tokens.better, tokens.worse])).tolist():
            of_table = int(completion[k])
            item, key, num_tokens = item_of(tokens, group, k, of_table)
            index = self._sequence_index(item, key, num_tokens)
            of_each[:, k] = index, num_characters(group.completions[of_table]), num_tokens
        return of_each[0], of_each[1], of_each[2]

    def _sequence_index(self, item: Any, key: bytes, num_tokens: int) -> int:
        index = self.index_of_key.setdefault(key, len(self.sequences))
        if index == len(self.sequences):
            self.sequences.append(item)
            self.sequence_num_tokens.append(num_tokens)
        return index

    def _prompt_index(self, group: PreferenceGroup) -> int:
        digest = digest_of(json.dumps(group.prompt).encode())
        return self.index_of_prompt.setdefault(digest, len(self.index_of_prompt))

    def _subset_code(self, subset: str | None) -> int:
        return -1 if subset is None else self.index_of_subset.setdefault(subset, len(self.index_of_subset))

    def _extend(self, **values: np.ndarray) -> None:
        for name, value in values.items():
            self.columns[name].append(value.astype(_DTYPES[name]))


def _index_or_all(
    index: np.ndarray | None, num_tokenized: int, num_in_data: int, group: PreferenceGroup
) -> np.ndarray:
    """Where the parts of a token group stand in the preference group; all in order when nothing is said."""
    if index is not None:
        return index
    if num_tokenized != num_in_data:
        raise ValueError(
            f"{group.source}: {num_tokenized} of {num_in_data} completions or comparisons are left after "
            f"tokenising, and the token group does not say which: texts and rewards cannot be joined"
        )
    return np.arange(num_tokenized)


_DTYPES = {
    "group": np.int64,
    "prompt": np.int64,
    "comparison": np.int32,
    "completion_better": np.int32,
    "completion_worse": np.int32,
    "better": np.int64,
    "worse": np.int64,
    "subset": np.int32,
    "required_margin": np.float32,
    "weight": np.float32,
    "is_tie": np.bool_,
    "num_characters_better": np.int64,
    "num_characters_worse": np.int64,
    "num_tokens_better": np.int64,
    "num_tokens_worse": np.int64,
}
"""The per-comparison columns of `ComparisonRows`."""
