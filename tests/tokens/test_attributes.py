"""Attributes stay with their completion from the records to the token groups, whatever is merged, cut or dropped."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from datasets import IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.preferences import Comparison, PreferenceGroup, read_preferences
from plaudit.tokens import LengthLimits, Renderer, TokenGroup, TokenStream, TokenTable, tokenize_preferences
from plaudit.tokens.limits import limit_group
from stand_ins.tokenizers import build_tokenizer

NAMES = ("helpfulness", "verbosity")
PLAIN = build_tokenizer()
RENDERER = Renderer(PLAIN)
NAN = float("nan")


def group_of(
    completions: list[list[int]],
    attributes: Any = None,
    *,
    ratings: Any = None,
    comparisons: tuple[tuple[int, int], ...] = (),
    row: int = -1,
) -> TokenGroup:
    """A group with the one-token prompt 10."""
    return TokenGroup(
        sequences=tuple(np.array([10, *ids], dtype=np.int32) for ids in completions),
        num_prompt_tokens=1,
        better=np.array([better for better, _ in comparisons], dtype=np.int32),
        worse=np.array([worse for _, worse in comparisons], dtype=np.int32),
        margin=np.zeros(len(comparisons), dtype=np.float32),
        weight=np.ones(len(comparisons), dtype=np.float32),
        is_tie=np.zeros(len(comparisons), dtype=np.bool_),
        ratings=None if ratings is None else np.array(ratings, dtype=np.float32),
        attributes=None if attributes is None else np.array(attributes, dtype=np.float32),
        row=row,
    )


def tokenize(records: list[Any], limits: LengthLimits | None = None, **options: Any) -> TokenTable:
    preferences = read_preferences(records, attributes=NAMES, progress=False)
    table = tokenize_preferences(preferences, RENDERER, limits, progress=False, **options)
    assert isinstance(table, TokenTable)
    return table


def row(response: str, helpfulness: Any, verbosity: Any, prompt: str = "p") -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "verbosity": verbosity}


RATED = PreferenceGroup(
    prompt="2 + 2 =", completions=(" 4", " 5", " 22"), attributes=((4.0, 1.0), (None, 2.0), (0.0, None))
)
PAIR = PreferenceGroup(
    prompt="2 + 2 =", completions=(" 4", " 5"), comparisons=(Comparison(better=0, worse=1),)
)


def test_attributes_are_float32_rows_with_nan_where_unknown():
    table = tokenize([RATED, PAIR])
    first, second = table
    assert first.attributes is not None and first.attributes.dtype == np.float32
    np.testing.assert_array_equal(first.attributes, [[4, 1], [NAN, 2], [0, NAN]])
    assert second.attributes is None
    assert table.attribute_names == NAMES


def test_a_table_read_again_or_sent_to_a_worker_knows_its_names(tmp_path):
    first = tokenize([RATED], cache_dir=tmp_path)
    again = tokenize([RATED], cache_dir=tmp_path)
    sent = pickle.loads(pickle.dumps(first))
    # Without a word about names, from the file alone.
    opened = TokenTable(first.dataset, LengthLimits())
    for table in (again, sent, opened, first.select([0])):
        assert table.attribute_names == NAMES
        np.testing.assert_array_equal(table[0].attributes, first[0].attributes)


def test_a_bare_data_set_of_preferences_knows_its_names():
    preferences = read_preferences([RATED, PAIR], attributes=NAMES, progress=False)
    table = tokenize_preferences(preferences.dataset, RENDERER, progress=False)
    assert isinstance(table, TokenTable)
    assert table.attribute_names == NAMES


def test_other_names_for_the_same_numbers_are_another_table(tmp_path):
    tables = [
        tokenize_preferences(
            read_preferences([RATED], attributes=names, progress=False),
            RENDERER,
            cache_dir=tmp_path,
            progress=False,
        )
        for names in (NAMES, NAMES[::-1])
    ]
    assert [table.attribute_names for table in tables] == [NAMES, NAMES[::-1]]
    assert tables[0].fingerprint != tables[1].fingerprint  # type: ignore[union-attr]


def test_a_stream_gives_the_attributes_and_names_of_the_table():
    records = [row("7", 4, 1), row("a b c", None, 2, "q")]
    source = IterableDataset.from_generator(lambda: iter(records))
    stream = tokenize_preferences(read_preferences(source, attributes=NAMES, progress=False), RENDERER)
    assert isinstance(stream, TokenStream)
    assert stream.attribute_names == NAMES
    for one, other in zip(stream, tokenize(records), strict=True):
        np.testing.assert_array_equal(one.attributes, other.attributes)


def test_two_processes_keep_attributes(tmp_path):
    groups = [RATED, PAIR] * 600
    table = tokenize(groups, num_proc=2, cache_dir=tmp_path)
    assert len(table) == 1200
    np.testing.assert_array_equal(table[1198].attributes, [[4, 1], [NAN, 2], [0, NAN]])
    assert table[1199].attributes is None


def test_a_response_alone_survives_since_it_is_rated():
    table = tokenize([row("7", 4, 1), row("8", None, None)])
    # Of the second nothing is known.
    assert [group.row for group in table] == [0]
    assert [(d.reason, d.num_groups) for d in table.report.dropped] == [("no-comparison", 1)]


def test_ratings_alone_are_kept_where_they_are_wanted():
    rated = PreferenceGroup(prompt="p", completions=("a",), ratings=(2.0,))
    unknown = PreferenceGroup(prompt="p", completions=("a", "b"), ratings=(None, None))
    source = read_preferences([rated, unknown, PAIR], progress=False)
    kept = {
        keep: [
            (group.row, None if group.ratings is None else group.ratings.tolist()[:1])
            for group in tokenize_preferences(
                source, RENDERER, keep_rows_without_comparisons=keep, progress=False
            )
        ]
        for keep in (False, "rated")
    }
    assert kept == {False: [(2, None)], "rated": [(0, [2.0]), (2, None)]}


def test_an_unknown_way_to_keep_groups_is_refused():
    with pytest.raises(PlauditError, match="Choose one of: False, 'rated', True"):
        TokenTable.from_groups([], keep_rows_without_comparisons="all")


def test_dropping_a_long_completion_keeps_the_rows_of_the_others():
    group = group_of([[3], [4, 4, 4, 4], [5]], [[1, 2], [3, 4], [5, NAN]], ratings=[6, 7, 8])
    left = limit_group(group, LengthLimits(max_length=3)).group
    assert left is not None and left.attributes is not None and left.ratings is not None
    assert [ids.tolist() for ids in left.sequences] == [[10, 3], [10, 5]]
    np.testing.assert_array_equal(left.attributes, [[1, 2], [5, NAN]])
    assert left.ratings.tolist() == [6, 8]


def test_a_pair_that_loses_one_to_its_length_lives_on_for_its_attributes():
    group = group_of([[4, 4, 4, 4], [3]], [[1, 2], [3, 4]], ratings=[5, 6], comparisons=((0, 1),))
    limits = LengthLimits(max_length=3)
    limited = limit_group(group, limits)
    assert limited.group is not None and limited.group.attributes is not None
    assert (limited.group.attributes.tolist(), len(limited.group.better)) == ([[3, 4]], 0)
    assert (limited.drop_reason, limited.num_comparisons_too_long) == (None, 1)
    by_ratings = group_of([[4, 4, 4, 4], [3]], ratings=[5, 6], comparisons=((0, 1),))
    assert limit_group(by_ratings, limits).drop_reason == "too-long"
    rated = limit_group(by_ratings, limits, keep_without_comparisons="rated").group
    assert rated is not None and rated.ratings is not None and rated.ratings.tolist() == [6]


def test_what_is_known_of_a_dropped_completion_alone_keeps_no_group():
    group = group_of([[4, 4, 4, 4], [3]], [[1, 2], [NAN, NAN]], ratings=[5, NAN])
    limited = limit_group(group, LengthLimits(max_length=3), keep_without_comparisons="rated")
    assert (limited.group, limited.drop_reason) == (None, "no-comparison")


def test_completions_of_the_same_ids_take_the_mean_of_each_known_attribute():
    group = group_of([[3], [4], [3], [3]], [[1, NAN], [9, NAN], [NAN, 2], [4, 8]])
    left = limit_group(group, LengthLimits()).group
    assert left is not None and left.attributes is not None
    assert left.attributes.dtype == np.float32
    # The first, third and fourth: (1 + 4) / 2 and (2 + 8) / 2. The second: nothing known of verbosity.
    np.testing.assert_array_equal(left.attributes, [[2.5, 5], [9, NAN]])


def test_cutting_the_prompt_leaves_attributes_alone():
    record = {
        "prompt": "0123456789",
        "completions": [{"text": t, "helpfulness": h} for t, h in [("a", 1), ("b", 2)]],
    }
    preferences = read_preferences([record], attributes=["helpfulness"], progress=False)
    limits = LengthLimits(max_length=6, on_overlength="truncate-prompt")
    (group,) = tokenize_preferences(preferences, RENDERER, limits, progress=False)
    assert group.num_truncated_tokens == 6
    assert group.attributes is not None and group.attributes.tolist() == [[1], [2]]


def test_groups_with_and_without_attributes_come_back_from_one_table():
    groups = [
        group_of([[1], [2]], comparisons=((0, 1),), row=0),
        group_of([[1], [2], [3]], [[1, NAN], [2, 3], [NAN, NAN]], row=1),
        group_of([[4]], [[5, 6]], row=2),
    ]
    table = TokenTable.from_groups(groups, attribute_names=NAMES)
    assert table.attribute_names == NAMES
    assert table[0].attributes is None
    np.testing.assert_array_equal(table[1].attributes, groups[1].attributes)
    np.testing.assert_array_equal(table[2].attributes, [[5, 6]])
    table[2].attributes[:] = 9  # type: ignore[index]
    np.testing.assert_array_equal(table[2].attributes, [[5, 6]])
    assert TokenTable.from_groups(groups[:1]).attribute_names == ()


@pytest.mark.parametrize("attributes", [[[1, 2, 3]], [[1, 2], [3, 4]]], ids=["names", "sequences"])
def test_attributes_of_another_shape_are_refused(attributes):
    with pytest.raises(PlauditError, match=r"row 7: attributes of the shape .* for 1 sequences and 2 names"):
        TokenTable.from_groups([group_of([[1]], attributes, row=7)], attribute_names=NAMES)


def test_names_change_the_fingerprint_of_groups_given_as_such():
    first, same, other = (
        TokenTable.from_groups([group_of([[1]], [[1, 2]])], attribute_names=names).fingerprint
        for names in (NAMES, NAMES, NAMES[::-1])
    )
    assert first == same != other


TEXTS = ["a", "bb", "ccc ccc", "0123456789", "01234567890123456789"]
SCORE = st.none() | st.integers(0, 4)
RECORDS = st.lists(
    st.tuples(st.sampled_from(["p", "q 123"]), st.sampled_from(TEXTS), SCORE, SCORE), min_size=1, max_size=10
)
LIMITS = st.builds(
    LengthLimits,
    max_length=st.none() | st.integers(4, 24),
    on_overlength=st.sampled_from(["drop", "truncate-prompt"]),
)


@settings(max_examples=25, deadline=None)
@given(records=RECORDS, limits=LIMITS)
def test_attributes_stay_with_their_completion_from_records_to_token_groups(records, limits):
    """Read, merge by prompt, tokenise, limit: each sequence has the means that its own records give."""
    known = [row("known", 1, 2, "another prompt")]  # a name that no record has would be an error
    rows = known + [row(text, first, second, prompt) for prompt, text, first, second in records]
    preferences = read_preferences(rows, attributes=NAMES, group_by_prompt=True, progress=False)
    said: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
    for prompt, text, *values in records:
        said.setdefault((prompt, text), []).append(tuple(values))
    met = set()
    for group in tokenize_preferences(preferences, RENDERER, limits, progress=False):
        prompt = str(preferences[group.row].prompt)
        if prompt == "another prompt":
            continue
        assert group.attributes is not None and group.attributes.shape == (len(group.sequences), 2)
        for ids, found in zip(group.sequences, group.attributes, strict=True):
            # The text behind the prompt, read from the ids: the prompt may have lost its left part.
            text = next(
                t for t in sorted(TEXTS, key=len, reverse=True) if str(PLAIN.decode(ids)).endswith(t + "</s>")
            )
            columns = list(zip(*said[prompt, text], strict=True))
            known_of = [[value for value in column if value is not None] for column in columns]
            np.testing.assert_array_equal(
                found, np.array([np.mean(v) if v else NAN for v in known_of], dtype=np.float32)
            )
            met.add((prompt, text))
    if limits.max_length is None:
        rated = {
            prompt for (prompt, _), values in said.items() if any(v is not None for s in values for v in s)
        }
        assert met == {key for key in said if key[0] in rated}
