"""Token tables of groups that exist already, and of pretokenised pairs."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.tokens import LengthLimits, TokenGroup, TokenTable, is_pretokenized, table_of_token_ids


def group_of(sequences: list[list[int]], row: int = -1, **fields) -> TokenGroup:
    return TokenGroup(
        sequences=tuple(np.array(ids, dtype=np.int32) for ids in sequences),
        num_prompt_tokens=0,
        better=np.array([0], dtype=np.int32),
        worse=np.array([1], dtype=np.int32),
        margin=np.array([0.25], dtype=np.float32),
        weight=np.array([1.5], dtype=np.float32),
        is_tie=np.array([True]),
        row=row,
        **fields,
    )


SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=2, max_size=5, unique_by=tuple
)


@settings(max_examples=30, deadline=None)
@given(drawn=st.lists(SEQUENCES, min_size=1, max_size=5))
def test_table_of_groups_gives_them_back(drawn):
    table = TokenTable.from_groups(group_of(sequences, row) for row, sequences in enumerate(drawn))
    assert [[ids.tolist() for ids in group.sequences] for group in table] == drawn
    assert [group.row for group in table] == list(range(len(drawn)))


def test_what_came_with_a_group_comes_back():
    ratings = np.array([0.5, np.nan], dtype=np.float32)
    index = np.array([3, 5], dtype=np.int32)
    (group,) = TokenTable.from_groups([group_of([[1], [2]], ratings=ratings, completion_index=index)])
    np.testing.assert_array_equal(group.ratings, ratings)
    assert (group.margin.tolist(), group.weight.tolist(), group.is_tie.tolist()) == ([0.25], [1.5], [True])
    assert group.completion_index.tolist() == [3, 5]
    assert group.comparison_index is None


def test_groups_beyond_one_chunk_are_all_there():
    table = TokenTable.from_groups(group_of([[i], [i, i]], i) for i in range(3000))
    assert [int(group.sequences[0][0]) for group in table] == list(range(3000))
    assert [table[i].sequences[1].tolist() for i in (0, 1023, 1024, 2999)] == [
        [0, 0],
        [1023, 1023],
        [1024, 1024],
        [2999, 2999],
    ]


def test_any_integer_is_an_index():
    table = TokenTable.from_groups([group_of([[1], [2]], 0), group_of([[3], [4]], 1)])
    assert table[np.int64(1)].row == table[-1].row == 1


def test_fingerprint_is_of_the_content():
    first, same, other = (
        TokenTable.from_groups([group_of(sequences)]).fingerprint
        for sequences in ([[1], [2]], [[1], [2]], [[1], [3]])
    )
    assert first == same != other


def test_changing_a_group_changes_no_table():
    table = TokenTable.from_groups([group_of([[1, 2], [1, 3]])])
    table[0].sequences[0][:] = 9
    table[0].better[:] = 9
    assert table[0].sequences[0].tolist() == [1, 2]
    assert table[0].better.tolist() == [0]


def test_data_set_that_is_no_token_table_is_named():
    with pytest.raises(PlauditError, match="not a table of token groups: it has no column shared_ids"):
        TokenTable(Dataset.from_dict({"row": [1]}), LengthLimits())


def test_pretokenised_pairs_become_groups():
    rows = Dataset.from_dict({"chosen_ids": [[1, 2, 3]], "rejected_ids": [[1, 2, 4, 5]], "margin": [0.5]})
    assert is_pretokenized(rows.column_names)
    (group,) = table_of_token_ids(rows)
    assert [ids.tolist() for ids in group.sequences] == [[1, 2, 3], [1, 2, 4, 5]]
    assert (group.better.tolist(), group.worse.tolist(), group.margin.tolist()) == ([0], [1], [0.5])
    assert group.num_prompt_tokens == 2
    assert group.row == 0


def test_pretokenised_pairs_under_trls_older_names_are_read():
    (group,) = table_of_token_ids([{"chosen_input_ids": [1], "rejected_input_ids": [2]}])
    assert [ids.tolist() for ids in group.sequences] == [[1], [2]]


def test_pretokenised_beginning_of_the_other_keeps_its_last_token():
    (group,) = table_of_token_ids([{"chosen_ids": [1, 2], "rejected_ids": [1, 2, 3]}])
    assert group.num_prompt_tokens == 1


def test_pretokenised_pairs_obey_the_limits():
    rows = [{"chosen_ids": [1, 2], "rejected_ids": [1, 3]}, {"chosen_ids": [1] * 9, "rejected_ids": [2]}]
    table = table_of_token_ids(rows, LengthLimits(max_length=4))
    assert [group.row for group in table] == [0]
    assert table.report.dropped[0].reason == "too-long"


def test_pretokenised_row_without_ids_is_named():
    with pytest.raises(PlauditError, match="row 1: no chosen_ids and rejected_ids among text"):
        table_of_token_ids([{"chosen_ids": [1], "rejected_ids": [2]}, {"text": "a"}])
    with pytest.raises(PlauditError, match="row 0: chosen_ids or rejected_ids is empty"):
        table_of_token_ids([{"chosen_ids": [], "rejected_ids": [2]}])
