"""The planner: every sequence is there, every distinct prefix once, and one rule says who sees whom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.tree.plan import TreePlan, num_distinct_tokens, path_rows, plan_tree

# A small alphabet and few lengths, so that sharing, prefixes of each other and duplicates all happen.
sequences_of_tokens = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=9)
thresholds = st.sampled_from([1, 2, 3, 8])


def distinct_prefixes(sequences: list[list[int]]) -> int:
    return len({tuple(ids[:n]) for ids in sequences for n in range(1, len(ids) + 1)})


def ancestors_and_self(plan: TreePlan, row: int) -> set[int]:
    """By walking parents, which does not use the interval rule."""
    node = max(i for i, start in enumerate(plan.node_start) if start <= row)
    rows = set(range(plan.node_start[node], row + 1))
    while (node := plan.node_parent[node]) >= 0:
        rows |= set(range(plan.node_start[node], plan.node_stop[node]))
    return rows


@given(sequences_of_tokens, thresholds)
def test_every_sequence_is_recovered_from_its_path(sequences: list[list[int]], threshold: int) -> None:
    plan = plan_tree(sequences, min_shared_tokens=threshold)
    for ids, end in zip(sequences, plan.sequence_ends, strict=True):
        rows = path_rows(plan, int(end))
        assert plan.token_ids[rows].tolist() == ids
        assert plan.position_ids[rows].tolist() == list(range(len(ids)))


@given(sequences_of_tokens)
def test_each_distinct_prefix_is_computed_once(sequences: list[list[int]]) -> None:
    plan = plan_tree(sequences, min_shared_tokens=1)
    assert plan.num_tokens == distinct_prefixes(sequences) == num_distinct_tokens(sequences)
    assert plan.num_given_tokens == sum(map(len, sequences))


@given(sequences_of_tokens, thresholds)
def test_short_splits_cost_fewer_tokens_than_the_threshold_each(
    sequences: list[list[int]], threshold: int
) -> None:
    num = plan_tree(sequences, min_shared_tokens=threshold).num_tokens
    full = distinct_prefixes(sequences)
    num_distinct = len(set(map(tuple, sequences)))
    assert full <= num <= full + (threshold - 1) * 2 * num_distinct * 12


@given(sequences_of_tokens, thresholds)
def test_the_interval_rule_shows_a_token_its_ancestors_and_nothing_else(
    sequences: list[list[int]], threshold: int
) -> None:
    plan = plan_tree(sequences, min_shared_tokens=threshold)
    keys = np.arange(plan.num_tokens)
    for query in range(plan.num_tokens):
        visible = set(np.flatnonzero((keys <= query) & (query < plan.exit)).tolist())
        assert visible == ancestors_and_self(plan, query)


@given(sequences_of_tokens, thresholds, st.randoms(use_true_random=False))
def test_permuting_the_input_permutes_the_ends_and_nothing_else(
    sequences: list[list[int]], threshold: int, random
) -> None:
    order = list(range(len(sequences)))
    random.shuffle(order)
    plan = plan_tree(sequences, min_shared_tokens=threshold)
    shuffled = plan_tree([sequences[i] for i in order], min_shared_tokens=threshold)
    assert shuffled.token_ids.tolist() == plan.token_ids.tolist()
    assert shuffled.sequence_ends.tolist() == plan.sequence_ends[order].tolist()


def test_a_prompt_with_two_answers_is_laid_out_as_drawn_in_the_module() -> None:
    # prompt 10..14, answers [20, 21, 22] and [30, 31]: the drawing of the module's docstring.
    prompt = [10, 11, 12, 13, 14]
    plan = plan_tree([[*prompt, 20, 21, 22], [*prompt, 30, 31]], min_shared_tokens=1)
    assert plan.token_ids.tolist() == [10, 11, 12, 13, 14, 20, 21, 22, 30, 31]
    assert plan.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 5, 6]
    assert plan.exit.tolist() == [10] * 5 + [8] * 3 + [10] * 2
    assert plan.sequence_ends.tolist() == [7, 9]
    assert plan.node_parent.tolist() == [-1, 0, 0]


def test_a_shared_run_below_the_threshold_is_repeated() -> None:
    plan = plan_tree([[7, 1, 2], [7, 3]], min_shared_tokens=2)
    assert plan.token_ids.tolist() == [7, 1, 2, 7, 3]
    assert plan.node_parent.tolist() == [-1, -1]


def test_equal_sequences_share_one_end() -> None:
    plan = plan_tree([[1, 2], [1, 2], [1, 2]])
    assert plan.num_tokens == 2
    assert plan.sequence_ends.tolist() == [1, 1, 1]


def test_a_chain_of_a_thousand_prefixes_needs_no_recursion() -> None:
    sequences = [list(range(1, n + 1)) for n in range(1, 1001)]
    plan = plan_tree(sequences, min_shared_tokens=1)
    assert plan.num_tokens == 1000
    assert plan.sequence_ends.tolist() == list(range(1000))


@pytest.mark.parametrize("sequences", [[], [[]], [[1], []]])
def test_nothing_or_an_empty_sequence_is_refused(sequences: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        plan_tree(sequences)


@settings(max_examples=30)
@given(st.integers(0, 2**31 - 1))
def test_large_token_ids_sort_as_numbers(token: int) -> None:
    plan = plan_tree([[token, 1], [token, 2], [token // 2, 1]], min_shared_tokens=1)
    assert plan.num_tokens == distinct_prefixes([[token, 1], [token, 2], [token // 2, 1]])
