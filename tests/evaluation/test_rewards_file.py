"""Rewards of a file: found by text, by id and by key; what is missing or disagrees is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from plaudit.errors import PlauditError
from plaudit.evaluation.conversations import conversation_key
from plaudit.evaluation.folder import read_evaluation
from plaudit.evaluation.rewards_file import FileSource
from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.preferences import read_preferences

PAIRS = [
    {"id": "a", "prompt": "2+2?", "chosen": "4", "rejected": "5"},
    {"id": "b", "prompt": "3+3?", "chosen": "6", "rejected": "7"},
]
BY_TEXT = [
    {"prompt": "2+2?", "completion": "4", "reward": 1.5},
    {"prompt": "2+2?", "completion": "5", "reward": -0.5},
    {"prompt": "3+3?", "completions": ["6", "7"], "rewards": [0.25, 0.5]},
]
MARGINS = [2.0, -0.25]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def margins(path: Path, records: list[dict[str, Any]] = PAIRS) -> list[float]:
    sets = [EvaluationSet(name="data", preferences=read_preferences(records, progress=False))]
    return evaluate_suites(FileSource(path), sets, progress=False).results["data"].rows.margin.tolist()


def test_rewards_are_found_by_text_as_score_writes_them(tmp_path: Path):
    assert margins(write(tmp_path / "r.jsonl", BY_TEXT)) == MARGINS


def test_rewards_are_found_by_id_and_place(tmp_path: Path):
    rows = [
        {"id": "b", "completion": 1, "reward": 0.5},
        {"id": "b", "completion": 0, "reward": 0.25},
        {"id": "a", "rewards": [1.5, -0.5]},
    ]
    assert margins(write(tmp_path / "r.jsonl", rows)) == MARGINS


def test_rewards_are_found_by_key(tmp_path: Path):
    texts = {("2+2?", "4"): 1.5, ("2+2?", "5"): -0.5, ("3+3?", "6"): 0.25, ("3+3?", "7"): 0.5}
    rows = [{"key": conversation_key(*pair).hex(), "reward": reward} for pair, reward in texts.items()]
    assert margins(write(tmp_path / "r.jsonl", rows)) == MARGINS


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_are_read_too(tmp_path: Path, ending: str):
    rows = [
        *BY_TEXT[:2],
        *({"prompt": "3+3?", "completion": c, "reward": r} for c, r in (("6", 0.25), ("7", 0.5))),
    ]
    table, path = pa.Table.from_pylist(rows), tmp_path / f"r.{ending}"
    if ending == "csv":
        pyarrow.csv.write_csv(table, path)
        # Texts that look like numbers are texts all the same.
        assert '"4"' in path.read_text()
    else:
        pyarrow.parquet.write_table(table, path)
    assert margins(path) == MARGINS


def test_messages_are_found_whether_the_answer_is_written_as_text_or_as_a_turn(tmp_path: Path):
    prompt = [{"role": "user", "content": "2+2?"}]
    turn = [{"role": "assistant", "content": "4"}]
    record = {"prompt": prompt, "chosen": turn, "rejected": [{"role": "assistant", "content": "5"}]}
    rows = [
        {"prompt": prompt, "completion": turn, "reward": 2.0},
        {"prompt": prompt, "completion": "5", "reward": 1.0},
    ]
    assert margins(write(tmp_path / "r.jsonl", rows), [record]) == [1.0]


def test_messages_are_found_whatever_the_order_of_their_keys_and_with_nulls_as_in_parquet(tmp_path: Path):
    call = {"id": "1", "function": {"name": "add", "arguments": "{}"}}
    prompt = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "4"},
    ]
    record = {"prompt": prompt, "chosen": "4", "rejected": "5"}
    turned = [{"content": t["content"], "role": t["role"], "tool_calls": t.get("tool_calls")} for t in prompt]
    turned[1]["tool_calls"] = [{**call, "type": None}]
    rows = [{"prompt": turned, "completion": c, "reward": float(c)} for c in ("4", "5")]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    for path in (write(tmp_path / "r.jsonl", rows), tmp_path / "r.parquet"):
        assert margins(path, [record]) == [-1.0]


def test_rewards_that_differ_beyond_float32_are_no_tie_here_and_in_the_folder(tmp_path: Path):
    rows = [{"id": "a", "rewards": [0.99999999, 0.99999998]}, {"id": "b", "rewards": [1e38, -1e38]}]
    sets = [EvaluationSet(name="data", preferences=read_preferences(PAIRS, progress=False))]
    source = FileSource(write(tmp_path / "r.jsonl", rows))
    run = evaluate_suites(source, sets, output_dir=tmp_path / "o", progress=False)
    stored = read_evaluation(tmp_path / "o").suites["data"]
    assert run.results["data"].metrics.accuracy.value == 1.0
    assert stored.rows.margin.tolist() == [0.99999999 - 0.99999998, 2e38]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_that_is_not_whole_is_said(tmp_path: Path, ending: str):
    path = tmp_path / f"r.{ending}"
    if ending == "csv":
        path.write_text("id,completion,reward\na,0,1.5\na,1\n")
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist([{"id": "a", "completion": 0, "reward": 1.0}]), path)
        path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(PlauditError, match="no whole table") as caught:
        FileSource(path)
    assert str(path) in str(caught.value)


def test_equal_texts_of_two_records_keep_their_own_rewards_by_id(tmp_path: Path):
    records = [PAIRS[0], {**PAIRS[0], "id": "b"}]
    rows = [{"id": "a", "rewards": [1.0, 0.0]}, {"id": "b", "rewards": [0.0, 3.0]}]
    assert margins(write(tmp_path / "r.jsonl", rows), records) == [1.0, -3.0]


def test_a_missing_reward_is_an_error_that_counts_and_names_the_first(tmp_path: Path):
    with pytest.raises(
        PlauditError, match=r"no reward for 2 of 4 conversations.*completion 0 of the record 'b'"
    ):
        margins(write(tmp_path / "r.jsonl", BY_TEXT[:2]))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**BY_TEXT[0], "reward": 9.0}, "another than that of an earlier row, 1.5"),
        ({**BY_TEXT[1], "reward": float("nan")}, "not finite"),
        ({**BY_TEXT[1], "reward": None}, "not finite"),
        ({**BY_TEXT[1], "reward": 1e39}, "not finite"),
        ({**BY_TEXT[1], "reward": 10**400}, "not finite"),
        ({"prompt": "p", "completions": ["a"], "rewards": [1.0, 2.0]}, "2 rewards for 1 completions"),
        ({"id": "a", "reward": 1.0}, "which of the record's completions"),
        ({"reward": 1.0}, "of which conversation"),
        ({"key": "abc", "reward": 1.0}, "32 hex digits"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], said: str):
    with pytest.raises(PlauditError, match=said) as caught:
        FileSource(write(tmp_path / "r.jsonl", [*BY_TEXT, row]))
    assert "r.jsonl:4" in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(PlauditError, match="no such file"):
        FileSource(tmp_path / "r.jsonl")


def test_an_id_that_two_suites_have_for_different_texts_is_refused(tmp_path: Path):
    path = write(tmp_path / "r.jsonl", [{"id": r["id"], "rewards": [1.0, 0.0]} for r in PAIRS])
    other = [{**PAIRS[0], "prompt": "9-5?"}]
    sets = [
        EvaluationSet(name=name, preferences=read_preferences(records, progress=False))
        for name, records in (("one", PAIRS), ("two", other))
    ]
    with pytest.raises(PlauditError, match="the record 'a' is another text here"):
        evaluate_suites(FileSource(path), sets, progress=False)
    same = [sets[0], EvaluationSet(name="again", preferences=sets[0].preferences)]
    assert evaluate_suites(FileSource(path), same, progress=False).results["again"].metrics.accuracy.n == 2


def test_a_file_of_rewards_goes_into_its_folder_again_and_a_changed_one_does_not(tmp_path: Path):
    path = write(tmp_path / "r.jsonl", BY_TEXT)
    sets = [EvaluationSet(name="data", preferences=read_preferences(PAIRS, progress=False))]
    for _ in range(2):
        evaluate_suites(FileSource(path), sets, output_dir=tmp_path / "o", name=str(path), progress=False)
    write(path, [*BY_TEXT[:2], {"prompt": "3+3?", "completions": ["6", "7"], "rewards": [3, 2]}])
    with pytest.raises(PlauditError, match="results of another model"):
        evaluate_suites(FileSource(path), sets, output_dir=tmp_path / "o", name=str(path), progress=False)
