"""Length limits: what is cut, dropped, merged and refused, by hand and by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.tokens import LengthLimits, TokenGroup
from plaudit.tokens.limits import limit_group

BOS = 1
TRUNCATE = "truncate-prompt"


def group_of(
    prompt: list[int], completions: list[list[int]], comparisons=((0, 1),), ratings=None
) -> TokenGroup:
    """Prompt and completions as ids, with (better, worse) comparisons whose margins are 0, 1, 2, ..."""
    num = len(comparisons)
    return TokenGroup(
        sequences=tuple(np.array(prompt + completion, dtype=np.int32) for completion in completions),
        num_prompt_tokens=len(prompt),
        better=np.array([better for better, _ in comparisons], dtype=np.int32),
        worse=np.array([worse for _, worse in comparisons], dtype=np.int32),
        margin=np.arange(num, dtype=np.float32),
        weight=np.ones(num, dtype=np.float32),
        is_tie=np.zeros(num, dtype=np.bool_),
        ratings=None if ratings is None else np.array(ratings, dtype=np.float32),
    )


def ids(group: TokenGroup | None) -> list[list[int]]:
    assert group is not None
    return [sequence.tolist() for sequence in group.sequences]


def pairs(group: TokenGroup | None) -> list[tuple[int, int]]:
    assert group is not None
    return list(zip(group.better.tolist(), group.worse.tolist(), strict=True))


def test_group_within_the_limits_is_left_as_it_is():
    group = group_of([1, 2], [[3], [4, 5]])
    limited = limit_group(group, LengthLimits(max_length=4, max_prompt_length=2, on_overlength=TRUNCATE))
    assert limited.group is group
    assert limited.drop_reason is None


def test_prompt_is_cut_from_the_left_alike_for_all_completions():
    # The longest sequence has 6 + 3 = 9 tokens; the limit of 7 cuts two prompt tokens from both.
    group = group_of([10, 11, 12, 13, 14, 15], [[3], [4, 5, 6]])
    limited = limit_group(group, LengthLimits(max_length=7, on_overlength=TRUNCATE)).group
    assert ids(limited) == [[12, 13, 14, 15, 3], [12, 13, 14, 15, 4, 5, 6]]
    assert limited.num_prompt_tokens == 4
    assert limited.num_truncated_tokens == 2


def test_leading_bos_stays_when_the_prompt_is_cut():
    group = group_of([BOS, 11, 12, 13], [[3], [4]])
    limited = limit_group(
        group, LengthLimits(max_prompt_length=2, on_overlength=TRUNCATE), leading_ids={BOS}
    ).group
    assert ids(limited) == [[BOS, 13, 3], [BOS, 13, 4]]


def test_prompt_limit_cuts_where_the_whole_sequence_would_fit():
    group = group_of([10, 11, 12], [[3], [4]])
    limits = LengthLimits(max_length=100, max_prompt_length=1, on_overlength=TRUNCATE)
    assert ids(limit_group(group, limits).group) == [[12, 3], [12, 4]]


def test_completion_that_alone_exceeds_the_limit_leaves_with_its_comparisons():
    group = group_of([10, 11], [[3], [4, 4, 4, 4], [5]], comparisons=((0, 1), (0, 2)))
    limited = limit_group(group, LengthLimits(max_length=3, on_overlength=TRUNCATE))
    assert ids(limited.group) == [[10, 11, 3], [10, 11, 5]]
    assert pairs(limited.group) == [(0, 1)]
    assert limited.group.margin.tolist() == [1.0]
    assert limited.group.completion_index.tolist() == [0, 2]
    assert limited.group.comparison_index.tolist() == [1]
    assert (limited.num_completions_too_long, limited.num_comparisons_too_long) == (1, 1)


def test_completion_of_exactly_the_limit_stays_without_its_prompt():
    group = group_of([10, 11], [[3], [4, 4, 4]])
    limited = limit_group(group, LengthLimits(max_length=3, on_overlength=TRUNCATE)).group
    assert ids(limited) == [[3], [4, 4, 4]]


def test_completion_that_leaves_no_room_for_bos_is_dropped():
    group = group_of([BOS, 11], [[3], [4, 4, 4]])
    limits = LengthLimits(max_length=3, on_overlength=TRUNCATE)
    limited = limit_group(group, limits, leading_ids={BOS})
    assert limited.group is None
    assert limited.drop_reason == "too-long"


def test_group_left_without_a_comparison_is_dropped_for_training():
    group = group_of([10], [[3], [4, 4, 4, 4]])
    limited = limit_group(group, LengthLimits(max_length=3, on_overlength=TRUNCATE))
    assert limited.group is None
    assert limited.drop_reason == "too-long"
    assert limited.num_longest_tokens == 5


def test_group_left_without_a_comparison_is_kept_for_scoring():
    group = group_of([10], [[3], [4, 4, 4, 4]])
    limits = LengthLimits(max_length=3, on_overlength=TRUNCATE)
    limited = limit_group(group, limits, keep_without_comparisons=True)
    assert ids(limited.group) == [[10, 3]]
    assert pairs(limited.group) == []


def test_group_with_ratings_only_needs_one_completion():
    group = group_of([10], [[3], [4, 4, 4]], comparisons=(), ratings=[0.5, 1.0])
    limits = LengthLimits(max_length=3)
    assert limit_group(group, limits, keep_without_comparisons=True).group.ratings.tolist() == [0.5]
    assert limit_group(group, LengthLimits()).drop_reason == "no-comparison"


def test_drop_policy_drops_the_completion_and_cuts_nothing():
    group = group_of([10, 11], [[3], [4, 4, 4], [5]], comparisons=((0, 1), (2, 0)))
    limited = limit_group(group, LengthLimits(max_length=3)).group
    assert ids(limited) == [[10, 11, 3], [10, 11, 5]]
    assert pairs(limited) == [(1, 0)]


def test_drop_policy_drops_the_group_whose_prompt_is_too_long():
    limited = limit_group(group_of([10, 11, 12], [[3], [4]]), LengthLimits(max_prompt_length=2))
    assert limited.group is None
    assert limited.drop_reason == "prompt-too-long"
    assert limited.num_prompt_tokens_in == 3


def test_error_policy_names_source_lengths_and_remedy():
    group = group_of([10, 11], [[3], [4, 4, 4]])
    with pytest.raises(PlauditError) as caught:
        limit_group(group, LengthLimits(max_length=4, on_overlength="error"), source="data.jsonl:5")
    assert str(caught.value) == (
        "data.jsonl:5: a sequence of 5 tokens (2 of them prompt) exceeds max_length 4. "
        "Raise the limit, or choose --on-overlength truncate-prompt or drop."
    )


def test_error_policy_refuses_a_long_prompt():
    with pytest.raises(PlauditError, match="a prompt of 2 tokens exceeds max_prompt_length 1"):
        limit_group(group_of([10, 11], [[3], [4]]), LengthLimits(max_prompt_length=1, on_overlength="error"))


def test_identical_pair_is_dropped_since_it_teaches_nothing():
    limited = limit_group(group_of([10], [[3], [3]]), LengthLimits())
    assert limited.group is None
    assert limited.drop_reason == "identical"
    assert (limited.num_completions_identical, limited.num_comparisons_identical) == (1, 1)


def test_identical_completions_are_merged_and_comparisons_follow():
    # 0 and 2 are the same ids: (0, 2) goes, (2, 1) becomes (0, 1), (3, 2) becomes (2, 0).
    group = group_of(
        [10], [[3], [4], [3], [5]], comparisons=((0, 2), (2, 1), (3, 2)), ratings=[1.0, 2.0, 3.0, np.nan]
    )
    limited = limit_group(group, LengthLimits()).group
    assert ids(limited) == [[10, 3], [10, 4], [10, 5]]
    assert pairs(limited) == [(0, 1), (2, 0)]
    assert limited.margin.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(limited.ratings, [2.0, 2.0, np.nan])
    assert limited.completion_index.tolist() == [0, 1, 3]


def test_limit_of_zero_is_an_error_that_names_the_option():
    with pytest.raises(PlauditError, match="--max-prompt-length: max_prompt_length is 0 tokens"):
        LengthLimits(max_prompt_length=0)


def test_misspelt_policy_lists_the_valid_ones():
    with pytest.raises(PlauditError, match="drop, truncate-prompt, error"):
        LengthLimits(on_overlength="truncate")


TOKENS = st.lists(st.integers(2, 5), max_size=8)


@st.composite
def drawn_groups(draw) -> tuple:
    """The arguments of `group_of`, called in the test: checked types draw random numbers of their own."""
    prompt = [BOS] * draw(st.booleans()) + draw(TOKENS)
    completions = draw(st.lists(TOKENS.map(lambda tokens: [*tokens, 9]), min_size=1, max_size=5))
    index = st.integers(0, len(completions) - 1)
    pair = st.tuples(index, index).filter(lambda two: two[0] != two[1])
    comparisons = draw(st.lists(pair, max_size=6)) if len(completions) > 1 else []
    return prompt, completions, comparisons


LIMITS = st.builds(
    LengthLimits,
    max_length=st.none() | st.integers(1, 12),
    max_prompt_length=st.none() | st.integers(1, 8),
    on_overlength=st.sampled_from(["drop", TRUNCATE]),
)
MANY = settings(max_examples=120, deadline=None)


@MANY
@given(drawn=drawn_groups(), limits=LIMITS, keep=st.booleans())
def test_whatever_is_left_is_within_the_limits(drawn, limits, keep):
    group = group_of(*drawn)
    left = limit_group(group, limits, leading_ids={BOS}, keep_without_comparisons=keep).group
    if left is None:
        return
    assert max(map(len, left.sequences)) <= (limits.max_length or 10**9)
    assert left.num_prompt_tokens <= (limits.max_prompt_length or 10**9)
    assert keep or len(left.better)


@MANY
@given(drawn=drawn_groups(), limits=LIMITS)
def test_completions_are_whole_and_the_prompt_is_shared(drawn, limits):
    group = group_of(*drawn)
    left = limit_group(group, limits, leading_ids={BOS}, keep_without_comparisons=True).group
    if left is None:
        return
    index = range(len(group.sequences)) if left.completion_index is None else left.completion_index
    for sequence, original in zip(left.sequences, (group.sequences[i] for i in index), strict=True):
        completion = original[group.num_prompt_tokens :]
        assert sequence[left.num_prompt_tokens :].tolist() == completion.tolist()
        assert (
            sequence[: left.num_prompt_tokens].tolist()
            == left.sequences[0][: left.num_prompt_tokens].tolist()
        )
    if group.num_prompt_tokens and group.sequences[0][0] == BOS:
        assert all(sequence[0] == BOS for sequence in left.sequences)


@MANY
@given(drawn=drawn_groups(), limits=LIMITS, keep=st.booleans())
def test_counts_add_up(drawn, limits, keep):
    group = group_of(*drawn)
    limited = limit_group(group, limits, keep_without_comparisons=keep)
    lost = limited.num_comparisons_too_long + limited.num_comparisons_identical
    num_left = 0 if limited.group is None else len(limited.group.better)
    assert limited.num_comparisons_in == len(group.better) == num_left + lost
    if limited.group is not None:
        gone = limited.num_completions_too_long + limited.num_completions_identical
        assert limited.num_completions_in == len(limited.group.sequences) + gone
    assert (limited.group is None) == (limited.drop_reason is not None)


@MANY
@given(drawn=drawn_groups(), limits=LIMITS)
def test_comparisons_go_on_naming_the_same_completions(drawn, limits):
    group = group_of(*drawn)
    left = limit_group(group, limits, keep_without_comparisons=True).group
    if left is None or left.comparison_index is None:
        return
    start = group.num_prompt_tokens
    for position, original in enumerate(left.comparison_index):
        for now, before in ((left.better, group.better), (left.worse, group.worse)):
            kept = left.sequences[now[position]][left.num_prompt_tokens :]
            assert kept.tolist() == group.sequences[before[original]][start:].tolist()
        assert left.margin[position] == group.margin[original]
