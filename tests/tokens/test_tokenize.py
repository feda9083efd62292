"""Tables and streams of token groups: the same groups, the same report, found again, small to send."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.preferences import read_preferences
from plaudit.preferences.group import Comparison, PreferenceGroup
from plaudit.preferences.table import SCHEMA, group_to_row
from plaudit.tokens import LengthLimits, Renderer, TokenGroup, TokenStream, TokenTable, tokenize_preferences
from stand_ins.tokenizers import CHATML_TEMPLATE, build_tokenizer

PLAIN = build_tokenizer()
RENDERER = Renderer(PLAIN)

PAIR = PreferenceGroup(
    prompt="2 + 2 =", completions=(" 4", " 5"), comparisons=(Comparison(better=0, worse=1),), source="d:1"
)
TRIPLE = PreferenceGroup(
    prompt="Name a prime.",
    completions=(" 7", " 8", " It is 7"),
    comparisons=(
        Comparison(better=0, worse=1, margin=0.5, weight=2.0),
        Comparison(better=0, worse=2, is_tie=True),
    ),
    ratings=(1.0, 0.0, None),
    source="d:2",
)
SAME = PreferenceGroup(
    prompt="Hi", completions=(" Hello", " Hello"), comparisons=(Comparison(better=0, worse=1),), source="d:3"
)
LONG = PreferenceGroup(
    prompt="Hi",
    completions=("0123456789" * 9, "a"),
    comparisons=(Comparison(better=1, worse=0),),
    source="d:4",
)
RATED = PreferenceGroup(prompt="Hi", completions=("a", "b"), ratings=(1.0, 2.0), source="d:5")
ALL = [PAIR, SAME, TRIPLE, LONG, RATED]
LIMITS = LengthLimits(max_length=40, on_overlength="truncate-prompt")


def dataset_of(groups) -> Dataset:
    return Dataset(pa.Table.from_pylist([group_to_row(group) for group in groups], schema=SCHEMA))


def table_of(groups, limits=LIMITS, renderer=RENDERER, **options) -> TokenTable:
    table = tokenize_preferences(dataset_of(groups), renderer, limits, progress=False, **options)
    assert isinstance(table, TokenTable)
    return table


def assert_equal_groups(first: TokenGroup, second: TokenGroup) -> None:
    assert [ids.tolist() for ids in first.sequences] == [ids.tolist() for ids in second.sequences]
    for name in ("num_prompt_tokens", "row", "num_truncated_tokens"):
        assert getattr(first, name) == getattr(second, name)
    for name in (
        "better",
        "worse",
        "margin",
        "weight",
        "is_tie",
        "ratings",
        "completion_index",
        "comparison_index",
    ):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other)


def test_group_of_a_table_holds_ids_comparisons_and_ratings():
    group = table_of(ALL)[1]
    assert [PLAIN.decode(ids.tolist()) for ids in group.sequences] == [
        "Name a prime. 7</s>",
        "Name a prime. 8</s>",
        "Name a prime. It is 7</s>",
    ]
    assert (group.better.tolist(), group.worse.tolist()) == ([0, 0], [1, 2])
    assert (group.margin.tolist(), group.weight.tolist()) == ([0.5, 0.0], [2.0, 1.0])
    assert group.is_tie.tolist() == [False, True]
    np.testing.assert_array_equal(group.ratings, np.array([1.0, 0.0, np.nan], dtype=np.float32))
    assert group.row == 2
    assert group.completion_index is None


def test_dtypes_are_those_of_the_contract():
    group = table_of(ALL)[1]
    found = [
        getattr(group, name).dtype for name in ("better", "worse", "margin", "weight", "is_tie", "ratings")
    ]
    assert found == [np.int32, np.int32, np.float32, np.float32, np.bool_, np.float32]
    assert all(ids.dtype == np.int32 for ids in group.sequences)


def test_report_counts_every_loss_and_says_so_in_words():
    report = table_of(ALL).report
    assert (report.num_groups_in, report.num_groups_out) == (5, 2)
    assert {dropped.reason: dropped.num_groups for dropped in report.dropped} == {
        "too-long": 1,
        "identical": 1,
        "no-comparison": 1,
    }
    assert (report.num_comparisons_in, report.num_comparisons_out) == (5, 3)
    longest = len(PLAIN("Hi" + "0123456789" * 9 + "</s>")["input_ids"])
    summary = report.summary()
    assert (
        f"1 of 5 groups dropped: a completion alone exceeds max_length 40 (longest {longest} tokens)"
        in summary
    )
    same = "1 of 5 groups teach nothing, and training drops them: their completions are the same tokens"
    assert same in summary
    assert "1 of 5 groups dropped: no two completions are compared" in summary


def test_truncated_prompts_are_counted():
    group = PreferenceGroup(
        prompt="0123456789" * 9, completions=("a", "b"), comparisons=(Comparison(better=0, worse=1),)
    )
    table = table_of([group, PAIR])
    # 90 digits, one token each, and the answer and the end of sequence make 92; 40 are allowed.
    assert len(PLAIN("0123456789")["input_ids"]) == 10
    assert table[0].num_truncated_tokens == 52
    assert table.report.num_truncated_tokens == 52
    assert "1 of 2 prompts cut from the left, by 52 tokens together" in table.report.summary()


def test_over_length_names_its_source_under_the_policy_error():
    with pytest.raises(PlauditError, match="d:4: a sequence of 93 tokens"):
        table_of(ALL, LengthLimits(max_length=40, on_overlength="error"))


def test_over_length_names_its_source_from_worker_processes():
    with pytest.raises(PlauditError, match="d:4: a sequence of 93 tokens"):
        table_of(ALL, LengthLimits(max_length=40, on_overlength="error"), num_proc=2)


def test_failure_leaves_no_file(tmp_path):
    with pytest.raises(PlauditError):
        table_of(ALL, LengthLimits(max_length=40, on_overlength="error"), cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_preferences_read_from_a_file_become_a_table_or_a_stream(tmp_path):
    path = tmp_path / "pairs.jsonl"
    records = [{"prompt": f"{i} + {i} =", "chosen": f" {2 * i}", "rejected": " 99"} for i in range(70)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    table = tokenize_preferences(read_preferences(path, progress=False), RENDERER, progress=False)
    stream = tokenize_preferences(read_preferences(path, streaming=True, progress=False), RENDERER)
    assert isinstance(table, TokenTable) and isinstance(stream, TokenStream)
    assert PLAIN.decode(table[3].sequences[0].tolist()) == "3 + 3 = 6</s>"
    for one, other in zip(stream, table, strict=True):
        assert_equal_groups(one, other)


def test_lengths_are_those_of_the_sequences():
    table = table_of(ALL, keep_rows_without_comparisons=True)
    assert len(table) == 5
    assert table.lengths().tolist() == [sum(map(len, group.sequences)) for group in table]
    assert table.longest().tolist() == [max(map(len, group.sequences)) for group in table]
    assert table.num_comparisons().tolist() == [len(group.better) for group in table]
    assert table.rows().tolist() == [group.row for group in table] == [0, 1, 2, 3, 4]


def test_rows_without_comparisons_are_kept_on_demand():
    table = table_of([RATED, SAME], keep_rows_without_comparisons=True)
    assert [len(group.sequences) for group in table] == [2, 1]
    assert table[0].ratings.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("keep", [False, True], ids=["training", "scoring"])
def test_stream_gives_the_groups_and_the_report_of_the_table(keep):
    table = table_of(ALL, keep_rows_without_comparisons=keep)
    stream = tokenize_preferences(ALL, RENDERER, LIMITS, keep_rows_without_comparisons=keep)
    assert isinstance(stream, TokenStream)
    groups = list(stream)
    assert stream.report == table.report
    assert len(groups) == len(table)
    for one, other in zip(groups, table, strict=True):
        assert_equal_groups(one, other)


def test_stream_of_rows_can_be_read_twice():
    stream = tokenize_preferences(dataset_of(ALL).to_iterable_dataset(), RENDERER, LIMITS)
    assert isinstance(stream, TokenStream)
    first = [group.row for group in stream]
    report = stream.report
    assert [group.row for group in stream] == first == [0, 2]
    assert stream.report == report


def test_two_processes_give_the_groups_and_the_report_of_one(tmp_path):
    # A folder each, or the second would find the file of the first.
    one = table_of(ALL * 3, cache_dir=tmp_path / "one")
    two = table_of(ALL * 3, cache_dir=tmp_path / "two", num_proc=2)
    assert two.report == one.report
    for first, second in zip(one, two, strict=True):
        assert_equal_groups(first, second)


def test_long_stream_numbers_its_rows_across_chunks():
    stream = tokenize_preferences([PAIR] * 150, RENDERER, LIMITS)
    assert [group.row for group in stream] == list(range(150))


def test_calls_of_the_tokenizer_end_with_whole_groups(monkeypatch):
    monkeypatch.setattr("plaudit.tokens.chunks.MAX_CHARACTERS_PER_CALL", 60)
    split = table_of(ALL * 3)
    monkeypatch.undo()
    # A stream, since a second table would find the file of the first.
    whole = tokenize_preferences(ALL * 3, RENDERER, LIMITS)
    for first, second in zip(split, whole, strict=True):
        assert_equal_groups(first, second)


def test_table_sent_to_a_worker_is_a_file_name_and_not_the_tokens():
    groups = [PAIR, TRIPLE] * 500
    table = table_of(groups)
    assert len(pickle.dumps(table)) < 20_000
    received = pickle.loads(pickle.dumps(table))
    assert_equal_groups(received[999], table[999])
    assert received.fingerprint == table.fingerprint


def test_second_run_finds_the_file_of_the_first(tmp_path):
    first = table_of(ALL, cache_dir=tmp_path)
    (file,) = tmp_path.glob("tokens-*.arrow")
    written = file.stat().st_mtime_ns
    second = table_of(ALL, cache_dir=tmp_path)
    assert file.stat().st_mtime_ns == written
    assert second.report == first.report
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"limits": LengthLimits(max_length=39, on_overlength="truncate-prompt")},
        {"renderer": Renderer(build_tokenizer(["other words"]))},
        {"renderer": Renderer(build_tokenizer(chat_template=CHATML_TEMPLATE))},
        {"keep_rows_without_comparisons": True},
    ],
    ids=["limit", "vocabulary", "template", "keep"],
)
def test_fingerprint_changes_with_what_decides_the_tokens(change):
    dataset = dataset_of(ALL)
    options = {"limits": LIMITS, "renderer": RENDERER, **change}
    changed = tokenize_preferences(dataset, progress=False, **options)
    same = tokenize_preferences(dataset, RENDERER, LIMITS, progress=False)
    again = tokenize_preferences(dataset, RENDERER, LIMITS, progress=False)
    assert changed.fingerprint != same.fingerprint == again.fingerprint


def test_encoding_in_between_changes_no_fingerprint():
    dataset = dataset_of(ALL)
    tokenizer = build_tokenizer()
    before = tokenize_preferences(dataset, Renderer(tokenizer), LIMITS, progress=False).fingerprint
    tokenizer(["a", "b c d"], padding=True, truncation=True, max_length=2)
    assert tokenize_preferences(dataset, Renderer(tokenizer), LIMITS, progress=False).fingerprint == before


def test_dataset_of_a_table_has_its_length_and_rows():
    table = table_of(ALL)
    assert len(table.dataset) == len(table) == 2
    assert table.dataset["row"][:] == [0, 2]


def test_selection_is_in_the_order_asked_for():
    table = table_of(ALL, keep_rows_without_comparisons=True)
    chosen = table.select([4, 0, 2]).select(np.array([2, 0]))
    assert [group.row for group in chosen] == [2, 4]
    assert chosen.lengths().tolist() == [table.lengths()[2], table.lengths()[4]]
    assert chosen.fingerprint != table.fingerprint


def test_index_outside_the_table_is_an_index_error():
    table = table_of(ALL)
    assert table[-1].row == table[1].row
    with pytest.raises(IndexError, match="index 2 is not in a table of 2"):
        table[2]


def test_empty_data_set_gives_an_empty_table():
    table = table_of([])
    assert (len(table), table.lengths().tolist(), table.report.num_groups_in) == (0, [], 0)
    assert table.report.summary()[0].startswith("0 of 0 groups")


def test_missing_columns_are_named():
    with pytest.raises(PlauditError, match="has no column prompt, completions"):
        tokenize_preferences(Dataset.from_dict({"text": ["a"]}), RENDERER)


def test_shuffled_preferences_keep_their_rows_apart():
    dataset = dataset_of(ALL).select([4, 2, 0])
    table = tokenize_preferences(dataset, RENDERER, LIMITS, progress=False)
    assert [(group.row, len(group.sequences)) for group in table] == [(1, 3), (2, 2)]


WORDS = st.text(alphabet="ab c\n", max_size=12)


@settings(max_examples=25, deadline=None)
@given(records=st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=2, max_size=4)), min_size=1, max_size=6))
def test_counts_of_a_report_add_up(records):
    groups = [
        PreferenceGroup(
            prompt=prompt,
            completions=tuple(completions),
            comparisons=tuple(Comparison(better=0, worse=i) for i in range(1, len(completions))),
        )
        for prompt, completions in records
    ]
    stream = tokenize_preferences(groups, RENDERER, LengthLimits(max_length=8, max_prompt_length=4))
    left = list(stream)
    report = stream.report
    assert report.num_groups_in == len(groups) == len(left) + sum(d.num_groups for d in report.dropped)
    assert report.num_comparisons_out == sum(len(group.better) for group in left)
    lost = report.num_comparisons_too_long + report.num_comparisons_identical
    assert report.num_comparisons_in == report.num_comparisons_out + lost
    assert report.num_tokens == sum(len(ids) for group in left for ids in group.sequences)


def test_real_pairs_come_back_from_the_table_as_rendered(shared_data: Path):
    with (shared_data / "hh-rlhf" / "helpful.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for _, line in zip(range(200), file, strict=False)]
    groups = [
        PreferenceGroup(
            prompt=record["prompt"],
            completions=(record["chosen"], record["rejected"]),
            comparisons=(Comparison(better=0, worse=1),),
        )
        for record in records
    ]
    for group in table_of(groups, LengthLimits()):
        record = records[group.row]
        for ids, name in zip(group.sequences, ("chosen", "rejected"), strict=True):
            assert ids.tolist() == PLAIN(record["prompt"] + record[name] + "</s>")["input_ids"]
