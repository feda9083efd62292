"""--data, and the options around it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plaudit.cli.reading import ReadOptions, parse_columns, parse_source, read_sources
from plaudit.errors import PlauditError


@pytest.mark.parametrize(
    ("text", "source", "amount"),
    [
        ("a.jsonl", "a.jsonl", None),
        ("a.jsonl=0.5", "a.jsonl", 0.5),
        ("a.jsonl=1.0", "a.jsonl", 1.0),
        ("a.jsonl=1000", "a.jsonl", 1000),
        ("org/data:config@train=.25", "org/data:config@train", 0.25),
        ("run=3/a.jsonl", "run=3/a.jsonl", None),
    ],
)
def test_a_source_may_end_with_an_amount(text: str, source: str, amount: float | None):
    assert parse_source(text) == (source, amount)
    assert type(parse_source(text)[1]) is type(amount)


def test_an_existing_path_is_all_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("a=5").mkdir()
    assert parse_source("a=5") == ("a=5", None)


@pytest.mark.parametrize("entry", ["prompt", "prompt=", "=question"])
def test_a_column_without_two_names_is_refused(entry: str):
    with pytest.raises(PlauditError, match="--column"):
        parse_columns([entry])


def test_a_source_named_twice_is_refused(pairs: Path):
    with pytest.raises(PlauditError, match="twice"):
        read_sources([str(pairs), str(pairs)], ReadOptions(), render="text", progress=False)


def test_unknown_choices_are_all_named():
    problems = ReadOptions(transcripts="mesages", on_bad_record="ignore").problems()
    assert [problem.where for problem in problems] == ["--transcripts", "--on-bad-record"]


@pytest.mark.parametrize(("render", "is_conversational"), [("chat", True), ("text", False)])
def test_transcripts_become_what_the_model_reads(render: str, is_conversational: bool, pairs: Path):
    preferences = read_sources([str(pairs)], ReadOptions(), render=render, progress=False)
    assert preferences[0].is_conversational is is_conversational


def test_skipped_records_are_written_down(tmp_path: Path):
    good = {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
    path, bad = tmp_path / "a.jsonl", tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps(good)}\nnot json\n")
    options = ReadOptions(on_bad_record="skip")
    preferences = read_sources([str(path)], options, render="text", bad_records_path=bad, progress=False)
    assert len(preferences) == 1
    assert json.loads(bad.read_text())["line"] == 2
