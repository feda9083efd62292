"""What is scored: each distinct sequence once, only compared completions, joined with the right texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plaudit.evaluation.plan import plan_evaluation
from plaudit.evaluation.said import num_characters
from plaudit.preferences.group import PreferenceGroup
from stand_ins.comparisons import byte_group, text_group


def plan_of(groups: list[PreferenceGroup]):
    return plan_evaluation([byte_group(group, row) for row, group in enumerate(groups)], groups)


def test_a_sequence_that_occurs_in_two_groups_is_scored_once():
    plan = plan_of([text_group("p", ["a", "b"]), text_group("p", ["b", "c"])])
    assert [bytes(s[:-1].tolist()) for s in plan.sequences] == [b"pa", b"pb", b"pc"]
    assert plan.rows.better.tolist() == [0, 1]
    assert plan.rows.worse.tolist() == [1, 2]


def test_a_completion_that_no_comparison_names_is_not_scored():
    plan = plan_of([text_group("p", ["a", "never", "c"], [(2, 0)])])
    assert [bytes(s[:-1].tolist()) for s in plan.sequences] == [b"pa", b"pc"]
    assert (plan.rows.better.tolist(), plan.rows.worse.tolist()) == ([1], [0])
    assert (plan.rows.completion_better.tolist(), plan.rows.completion_worse.tolist()) == ([2], [0])


def test_groups_with_ratings_only_are_counted_and_not_scored():
    rated = replace(text_group("p", ["a", "b"], []), ratings=(1.0, 2.0))
    plan = plan_of([rated, text_group("q", ["a", "b"])])
    assert plan.num_groups_without_comparisons == 1
    assert plan.rows.group.tolist() == [1]
    assert len(plan.sequences) == 2


def test_lengths_and_subsets_are_those_of_each_comparison():
    plan = plan_of(
        [
            text_group("prompt", ["abc", "é"], subset="s"),
            text_group("q", ["", "abcd"], [(1, 0)]),
            text_group("r", ["x", "yz"], [(0, 1)], ties=[(1, 0)], subset="s"),
        ]
    )
    rows = plan.rows
    assert rows.num_characters_better.tolist() == [3, 4, 1, 2]
    assert rows.num_characters_worse.tolist() == [1, 0, 2, 1]
    # One token per UTF-8 byte, and the end of sequence.
    assert rows.num_tokens_better.tolist() == [4, 5, 2, 3]
    assert rows.num_tokens_worse.tolist() == [3, 1, 3, 2]
    assert rows.subset_names == ("s",)
    assert rows.subset.tolist() == [0, -1, 0, 0]
    assert rows.comparison.tolist() == [0, 0, 0, 1]
    assert rows.is_tie.tolist() == [False, False, False, True]


def test_a_group_that_lost_a_completion_is_joined_with_the_texts_it_kept():
    group = text_group("p", ["dropped", "bb", "a"], [(0, 1), (2, 1)])
    whole = byte_group(group, 0)
    left = replace(
        whole,
        sequences=whole.sequences[1:],
        better=np.array([1], dtype=np.int32),
        worse=np.array([0], dtype=np.int32),
        margin=whole.margin[1:],
        weight=whole.weight[1:],
        is_tie=whole.is_tie[1:],
        completion_index=np.array([1, 2], dtype=np.int32),
        comparison_index=np.array([1], dtype=np.int32),
    )
    rows = plan_evaluation([left], [group]).rows
    assert (rows.completion_better.tolist(), rows.completion_worse.tolist()) == ([2], [1])
    assert (rows.num_characters_better.tolist(), rows.num_characters_worse.tolist()) == ([1], [2])
    assert rows.comparison.tolist() == [1]


def test_a_group_that_lost_a_completion_without_saying_which_is_refused():
    group = text_group("p", ["dropped", "bb", "a"], [(2, 1)], source="f.jsonl:7")
    whole = byte_group(group, 0)
    left = replace(
        whole,
        sequences=whole.sequences[1:],
        better=np.array([1], dtype=np.int32),
        worse=np.array([0], dtype=np.int32),
    )
    with pytest.raises(ValueError, match=r"f\.jsonl:7: 2 of 3"):
        plan_evaluation([left], [group])


def test_rewards_are_nan_until_they_are_given():
    rows = plan_of([text_group("p", ["a", "b"])]).rows
    assert np.isnan(rows.sequence_reward).all()
    scored = rows.with_rewards(np.array([2.0, -1.0], dtype=np.float32))
    assert (scored.reward_better.tolist(), scored.reward_worse.tolist()) == ([2.0], [-1.0])
    assert scored.margin.tolist() == [3.0]


def test_selecting_keeps_every_column_in_step():
    rows = plan_of([text_group("p", ["a", "bb"]), text_group("q", ["ccc", "d"], subset="s")]).rows
    second = rows.select(np.array([False, True]))
    assert len(second) == 1
    assert (second.num_characters_better.tolist(), second.subset.tolist()) == ([3], [0])
    assert second.better.tolist() == [2]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("日本", 2),
        (({"role": "assistant", "content": "four"},), 4),
        (({"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "12"}), 2),
        (({"role": "assistant", "content": [{"type": "text", "text": "abc"}, {"type": "image"}]},), 3),
        (({"role": "assistant"},), 0),
    ],
)
def test_characters_are_those_of_the_text_content(completion, expected: int):
    assert num_characters(completion) == expected
