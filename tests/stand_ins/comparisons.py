"""Rows, token groups and preference groups built by hand, and a reward that is worked out on paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plaudit.evaluation.plan import plan_evaluation
from plaudit.evaluation.rows import ComparisonRows
from plaudit.preferences.group import Comparison, PreferenceGroup
from plaudit.tokens.group import TokenGroup

__all__ = ["byte_group", "linear_reward", "rows_of", "text_group"]


def text_group(
    prompt: str,
    completions: Sequence[str],
    comparisons: Sequence[tuple[int, int]] = ((0, 1),),
    *,
    ties: Sequence[tuple[int, int]] = (),
    subset: str | None = None,
    id: str | None = None,
    source: str = "made.jsonl:1",
    margin: float = 0.0,
    weight: float = 1.0,
) -> PreferenceGroup:
    """A plain-text group; ``ties`` come after ``comparisons``."""
    judged = [Comparison(better=b, worse=w, margin=margin, weight=weight) for b, w in comparisons]
    tied = [Comparison(better=b, worse=w, is_tie=True) for b, w in ties]
    return PreferenceGroup(
        prompt=prompt,
        completions=tuple(completions),
        comparisons=tuple(judged + tied),
        subset=subset,
        id=id,
        source=source,
    )


def byte_group(group: PreferenceGroup, row: int) -> TokenGroup:
    """The group with its UTF-8 bytes as tokens, and 256 as the end of sequence."""
    prompt = list(str(group.prompt).encode())
    return TokenGroup(
        sequences=tuple(
            np.array([*prompt, *str(completion).encode(), 256], dtype=np.int32)
            for completion in group.completions
        ),
        num_prompt_tokens=len(prompt),
        better=np.array([c.better for c in group.comparisons], dtype=np.int32),
        worse=np.array([c.worse for c in group.comparisons], dtype=np.int32),
        margin=np.array([c.margin for c in group.comparisons], dtype=np.float32),
        weight=np.array([c.weight for c in group.comparisons], dtype=np.float32),
        is_tie=np.array([c.is_tie for c in group.comparisons], dtype=np.bool_),
        row=row,
    )


def linear_reward(sequence: np.ndarray) -> float:
    """0.25 for every ``!`` in the sequence, less 0.125 for every ``?``."""
    return 0.25 * float(np.sum(sequence == ord("!"))) - 0.125 * float(np.sum(sequence == ord("?")))


def rows_of(groups: Sequence[PreferenceGroup]) -> ComparisonRows:
    """The comparisons of some groups, with `linear_reward`."""
    plan = plan_evaluation([byte_group(group, row) for row, group in enumerate(groups)], list(groups))
    return plan.rows.with_rewards(np.array([linear_reward(s) for s in plan.sequences], dtype=np.float32))
