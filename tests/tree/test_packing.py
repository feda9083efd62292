"""Passes stay within their budget and lose nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.tree.packing import pack_sequences
from plaudit.tree.plan import num_distinct_tokens

sequences_of_tokens = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), max_size=12)


@given(sequences_of_tokens, st.integers(1, 40), st.booleans())
def test_every_given_sequence_is_in_exactly_one_pass(
    sequences: list[list[int]], max_tokens: int, shares: bool
) -> None:
    packing = pack_sequences(sequences, max_tokens=max_tokens, shares_prefixes=shares)
    assert [packing.distinct[i].tolist() for i in packing.index_of_given] == sequences
    assert [i for first, last in packing.passes for i in range(first, last)] == list(
        range(len(packing.distinct))
    )
    assert len(packing.distinct) == len(set(map(tuple, sequences)))


@given(sequences_of_tokens, st.integers(1, 40))
def test_a_pass_exceeds_the_budget_only_with_a_single_sequence(
    sequences: list[list[int]], max_tokens: int
) -> None:
    packing = pack_sequences(sequences, max_tokens=max_tokens)
    for first, last in packing.passes:
        assert last - first == 1 or num_distinct_tokens(packing.distinct[first:last]) <= max_tokens


def test_without_sharing_a_pass_costs_rows_times_the_longest() -> None:
    packing = pack_sequences([[1], [2, 2], [3, 3, 3], [4]], max_tokens=4, shares_prefixes=False)
    # By length: [1], [4] and [2, 2] would cost 3 x 2 = 6 tokens, so the pass ends before [2, 2].
    assert [ids.tolist() for ids in packing.distinct] == [[1], [4], [2, 2], [3, 3, 3]]
    assert packing.passes == [(0, 2), (2, 3), (3, 4)]


def test_no_sequences_make_no_pass() -> None:
    assert pack_sequences([], max_tokens=8).passes == []


@pytest.mark.parametrize("shares", [True, False])
def test_shared_beginnings_meet_in_a_pass(shares: bool) -> None:
    prompts = [[9, n] * 10 for n in range(4)]
    sequences = [[*prompts[i % 4], i] for i in range(16)]  # every fourth shares its prompt
    packing = pack_sequences(sequences, max_tokens=24, shares_prefixes=shares)
    computed = sum(num_distinct_tokens(packing.distinct[a:b]) for a, b in packing.passes)
    assert computed == (4 * (20 + 4) if shares else 16 * 21)
