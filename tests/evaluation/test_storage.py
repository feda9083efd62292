"""Stored rows: readable by anyone, enough to compute every statistic again, complete or absent."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.evaluation import storage
from plaudit.evaluation.folder import StoredSuite
from plaudit.evaluation.metrics import compute_metrics
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.storage import ROWS_SCHEMA, read_rows, write_rows
from plaudit.preferences.group import Comparison, PreferenceGroup
from stand_ins.comparisons import rows_of, text_group


@pytest.fixture
def groups() -> list[PreferenceGroup]:
    return [
        text_group("p", ["good!!", "bad?"], subset="s", id="one", source="f.jsonl:1", margin=0.5, weight=2.0),
        text_group("q", ["x", "y!", "z!!"], [(1, 0), (0, 2)], ties=[(1, 2)], source="f.jsonl:2"),
    ]


def write(path: Path, groups: list[PreferenceGroup], **options) -> ComparisonRows:
    rows = rows_of(groups)
    write_rows(path, rows, groups, **options)
    return rows


def test_a_row_holds_the_comparison_as_worked_by_hand(tmp_path: Path, groups: list[PreferenceGroup]):
    write(tmp_path / "rows.parquet", groups)
    first, second, _, tie = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    key = first.pop("key")
    assert len(key) == 32
    assert first == {
        "group": 0,
        "prompt_index": 0,
        "comparison": 0,
        "source": "f.jsonl:1",
        "subset": "s",
        "id": "one",
        "is_conversational": False,
        "prompt": "p",
        "text_better": "good!!",
        "text_worse": "bad?",
        "completion_better": 0,
        "completion_worse": 1,
        "sequence_better": 0,
        "sequence_worse": 1,
        "reward_better": 0.5,
        "reward_worse": -0.125,
        "margin": 0.625,
        "required_margin": 0.5,
        "weight": 2.0,
        "is_tie": False,
        "is_correct": True,
        "num_tokens_better": 7,
        "num_tokens_worse": 5,
        "num_characters_better": 6,
        "num_characters_worse": 4,
    }
    assert (second["text_better"], second["text_worse"], second["subset"], second["id"]) == (
        "y!",
        "x",
        None,
        None,
    )
    assert (tie["is_tie"], tie["is_correct"], tie["comparison"]) == (True, None, 2)


def test_equal_rewards_are_stored_as_not_correct(tmp_path: Path):
    write(tmp_path / "rows.parquet", [text_group("p", ["a", "b"]), text_group("q", ["a", "b!"])])
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert (rows["margin"].to_pylist(), rows["is_correct"].to_pylist()) == ([0.0, -0.25], [False, False])


def test_rows_read_back_are_the_rows_written(tmp_path: Path, groups: list[PreferenceGroup]):
    rows = write(tmp_path / "rows.parquet", groups)
    back = read_rows(tmp_path / "rows.parquet")
    for field in fields(ComparisonRows):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(rows, field.name), field.name)


words = st.text("ab!?é", max_size=6)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(words, words, st.booleans(), st.sampled_from([None, "s", "t"])), max_size=8),
    st.booleans(),
)
def test_statistics_of_rows_read_back_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, drawn: list, store_texts: bool
):
    groups = [
        text_group(f"p{i}", [a, b], [] if tie else [(0, 1)], ties=[(0, 1)] if tie else [], subset=subset)
        for i, (a, b, tie, subset) in enumerate(drawn)
    ]
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    rows = write(path, groups, store_texts=store_texts)
    # repr, because NaN is not equal to itself.
    assert repr(compute_metrics(read_rows(path))) == repr(compute_metrics(rows))


def test_rewards_that_differ_beyond_float32_differ_when_they_are_read_back(tmp_path: Path):
    groups = [text_group("p", ["a", "b"])]
    rows = rows_of(groups).with_rewards(np.array([0.99999999, 0.99999998]))
    write_rows(tmp_path / "rows.parquet", rows, groups)
    for found in (rows, read_rows(tmp_path / "rows.parquet")):
        assert found.margin.tolist() == [0.99999999 - 0.99999998]
        assert compute_metrics(found).num_reward_ties == 0


@pytest.mark.parametrize("what", ["gone", "not whole"])
def test_a_file_of_rows_that_cannot_be_read_is_said(tmp_path: Path, groups: list[PreferenceGroup], what: str):
    path = tmp_path / "rows.parquet"
    write(path, groups)
    content = path.read_bytes()
    path.unlink()
    if what == "not whole":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(PlauditError, match=f"the file of the rows is {what}"):
        read_rows(path)
    with pytest.raises(PlauditError, match=f"the file of the rows is {what}"):
        StoredSuite(tmp_path, {}).table()


def test_texts_are_left_out_on_request_and_their_key_stays(tmp_path: Path, groups: list[PreferenceGroup]):
    write(tmp_path / "with.parquet", groups)
    write(tmp_path / "without.parquet", groups, store_texts=False)
    with_texts, without = (
        pq.read_table(tmp_path / "with.parquet"),
        pq.read_table(tmp_path / "without.parquet"),
    )
    assert without["prompt"].null_count == without["text_better"].null_count == len(without)
    assert without["key"].equals(with_texts["key"])
    assert without["source"].to_pylist()[0] == "f.jsonl:1"


def test_same_texts_have_the_same_key_wherever_they_stand(tmp_path: Path):
    there = text_group("p", ["a", "b"], source="x:1")
    write(tmp_path / "a.parquet", [text_group("o", ["a", "b"]), there])
    write(tmp_path / "b.parquet", [text_group("p", ["b", "a"], [(1, 0)], source="y:9")])
    first = pq.read_table(tmp_path / "a.parquet")["key"].to_pylist()
    second = pq.read_table(tmp_path / "b.parquet")["key"].to_pylist()
    assert first[1] == second[0]
    assert first[0] != first[1]


def test_messages_are_stored_as_json_and_marked(tmp_path: Path):
    group = PreferenceGroup(
        prompt=({"role": "user", "content": "ünder"},),
        completions=(({"role": "assistant", "content": "a"},), ({"role": "assistant", "content": "b"},)),
        comparisons=(Comparison(better=1, worse=0),),
        source="f:1",
    )
    rows = rows_of([text_group("x", ["a", "b"], [(1, 0)])])
    write_rows(tmp_path / "rows.parquet", rows, [group])
    (row,) = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert row["is_conversational"] is True
    assert json.loads(row["prompt"]) == [{"role": "user", "content": "ünder"}]
    assert json.loads(row["text_better"]) == [{"role": "assistant", "content": "b"}]


def test_many_chunks_give_the_same_rows(
    tmp_path: Path, groups: list[PreferenceGroup], monkeypatch: pytest.MonkeyPatch
):
    many = groups * 7
    write(tmp_path / "one.parquet", many)
    monkeypatch.setattr(storage, "MAX_CHUNK_ROWS", 3)
    write(tmp_path / "by_rows.parquet", many)
    monkeypatch.setattr(storage, "MAX_CHUNK_CHARACTERS", 10)
    write(tmp_path / "by_text.parquet", many)
    whole = pq.read_table(tmp_path / "one.parquet")
    assert len(whole) == 28
    assert pq.read_table(tmp_path / "by_rows.parquet").equals(whole)
    assert pq.read_table(tmp_path / "by_text.parquet").equals(whole)
    assert pq.read_metadata(tmp_path / "by_rows.parquet").num_row_groups == 10


def test_no_comparisons_give_an_empty_file_of_the_schema(tmp_path: Path):
    write(tmp_path / "rows.parquet", [])
    assert pq.read_schema(tmp_path / "rows.parquet").equals(ROWS_SCHEMA)
    assert len(read_rows(tmp_path / "rows.parquet")) == 0


def test_failure_while_writing_leaves_the_earlier_file_whole(tmp_path: Path, groups: list[PreferenceGroup]):
    path = tmp_path / "rows.parquet"
    rows = write(path, groups)
    before = path.read_bytes()
    with pytest.raises(IndexError):
        write_rows(path, rows, groups[:1])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["rows.parquet"]


def test_file_of_another_schema_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(PlauditError, match="schema version none"):
        read_rows(tmp_path / "other.parquet")
