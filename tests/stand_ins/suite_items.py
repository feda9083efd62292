"""Scored items built by hand, and rows of the benchmarks' schemas."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from plaudit.evaluation.suites import ScoredItem
from plaudit.preferences import Comparison, PreferenceGroup

__all__ = ["ROWS", "item", "items_from_groups", "pair", "pairs_with"]

_numbers = itertools.count()


def item(
    rewards: Sequence[float],
    num_correct: int = 1,
    *,
    subset: str | None = None,
    id: str | None = None,
    prompt: int = -1,
    is_correct: Sequence[bool] | None = None,
    comparisons: Sequence[tuple[int, int]] | None = None,
    ratings: Sequence[float] | None = None,
    group: int | None = None,
) -> ScoredItem:
    """The first ``num_correct`` are right, and each of them better than each of the others."""
    right = np.arange(len(rewards)) < num_correct if is_correct is None else np.array(is_correct)
    if comparisons is None:
        comparisons = [(int(b), int(w)) for b in np.flatnonzero(right) for w in np.flatnonzero(~right)]
    return ScoredItem(
        id=id,
        subset=subset,
        rewards=np.array(rewards, dtype=np.float64),
        comparisons=tuple(Comparison(better=b, worse=w) for b, w in comparisons),
        is_correct=right,
        group=next(_numbers) if group is None else group,
        num_tokens=np.ones(len(rewards), dtype=np.int64),
        num_characters=np.ones(len(rewards), dtype=np.int64),
        prompt=prompt,
        ratings=None if ratings is None else np.array(ratings, dtype=np.float64),
    )


def pair(better: float, worse: float, subset: str | None = None, **more: Any) -> ScoredItem:
    """A pair with these rewards."""
    return item([better, worse], subset=subset, **more)


def pairs_with(num_right: int, num: int, subset: str) -> list[ScoredItem]:
    """``num`` pairs of a subset, the first ``num_right`` of which are ranked right."""
    return [pair(float(i < num_right), 0.5, subset) for i in range(num)]


def items_from_groups(
    groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]] | None = None
) -> list[ScoredItem]:
    """Items of groups; the reward of an answer is its number of characters unless rewards are given."""
    items = []
    for row, group in enumerate(groups):
        of_each = [_length(c) for c in group.completions] if rewards is None else rewards[row]
        worse = {c.worse for c in group.comparisons if not c.is_tie}
        items.append(
            ScoredItem(
                id=group.id,
                subset=group.subset,
                rewards=np.array(of_each, dtype=np.float64),
                comparisons=group.comparisons,
                is_correct=np.array([k not in worse for k in range(len(group.completions))]),
                group=row,
                num_tokens=np.array(of_each, dtype=np.float64).astype(np.int64),
                num_characters=np.array([_length(c) for c in group.completions], dtype=np.int64),
                prompt=-1,
                ratings=None if group.ratings is None else np.array(group.ratings, dtype=np.float64),
            )
        )
    return items


def _length(completion: Any) -> int:
    return len(completion) if isinstance(completion, str) else len(completion[-1]["content"])


ROWS: dict[str, list[dict[str, Any]]] = {
    "rewardbench": [
        {"prompt": "2+2?", "chosen": "4", "rejected": "five", "subset": "hep-go", "id": 7},
        {"prompt": "3+3?", "chosen": "6", "rejected": "", "subset": "math-prm", "id": 8},
    ],
    "prior-sets": [
        {
            "prompt": [{"content": "Be kind.", "role": "system"}, {"content": "Hi", "role": "user"}],
            "chosen": "Hello!",
            "rejected": "What?",
            "subset": "shp",
            "id": "a",
        },
    ],
    "rewardbench2": [
        {
            "id": "4",
            "prompt": "A prime?",
            "chosen": ["2"],
            "rejected": ["4", "6", "9"],
            "num_correct": 1,
            "subset": "Math",
        },
        {
            "id": "tied:0",
            "prompt": "A colour?",
            "chosen": ["red", "blue"],
            "rejected": ["dog"],
            "num_correct": 2,
            "subset": "Ties",
        },
    ],
    "rm-bench": [
        {
            "id": "1",
            "prompt": "2+2?",
            "chosen": ["4", "It is 4", "**4**"],
            "rejected": ["5", "It is 5", "**5**"],
            "domain": "math",
        },
    ],
    "judgebench": [
        {
            "pair_id": "x",
            "source": "mmlu-pro-law",
            "question": "Which?",
            "response_A": "This.",
            "response_B": "That.",
            "label": "B>A",
            "response_model": "gpt-4o-2024-05-13",
        },
        {
            "pair_id": "y",
            "source": "livebench-math",
            "question": "Why?",
            "response_A": "So.",
            "response_B": "No.",
            "label": "A>B",
            "response_model": "claude-3-5-sonnet-20240620",
        },
    ],
    "rmb": [
        {
            "pair_uid": "1",
            "conversation_input": [{"content": "Hi", "language": "English", "role": "user"}],
            "chosen": {"llm_name": "m", "answer": "Hello!", "score": 5.0},
            "reject": {"llm_name": "n", "answer": "What?", "score": 1.0},
            "category_path": "Pairwise_set/Helpfulness/Chat/Casual Conversation",
        },
        {
            "bon_uid": "2",
            "conversation_input": [{"content": "Hi", "language": "English", "role": "user"}],
            "bon_best": {"llm_name": "m", "answer": "No."},
            "loser_list": [{"llm_name": "n", "answer": "Yes."}, {"llm_name": "o", "answer": "Sure."}],
            "category_path": "BoN_set/Harmlessness/S1",
        },
    ],
    "ppe": [
        {
            "question_id": "q1",
            "prompt": "2+2?",
            "scores": [True, False, True],
            "response_1": "4",
            "response_2": "5",
            "response_3": "four",
            "benchmark": "MATH",
        },
    ],
    "ufb": [
        {
            "prompt": "Hi",
            "prompt_id": "p",
            "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
            "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?"}],
            "score_chosen": 7.0,
            "score_rejected": 7.0,
        },
    ],
    "llmbar": [
        {
            "prompt": "Say hi",
            "chosen": "hi",
            "rejected": "bye",
            "subset": "LLMBar/Adversarial/GPTOut",
            "id": "l",
        },
        {"prompt": "Say ho", "chosen": "ho", "rejected": "he", "subset": "llmbar-natural", "id": "m"},
    ],
}
"""Rows as the benchmarks write them."""
