"""plaudit score as a program: pipes, exit status, what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

RECORDS = [
    {"prompt": "2 + 2?", "completion": " 4", "id": 7},
    {"prompt": "2 + 2?", "completions": [" 4", " 5"], "note": {"é": None}},
]


def lines_of(records: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_the_program_scores_from_pipe_to_pipe(program: Run, reward_model: Path):
    done = program("score", reward_model, "--input", "-", "--output", "-", given=lines_of(RECORDS))
    assert done.status == 0, done.err
    first, second = map(json.loads, done.out.splitlines())
    reward = first.pop("reward")
    rewards = second.pop("rewards")
    assert [first, second] == RECORDS
    assert rewards[0] == reward != rewards[1]
    assert "2 records, 3 conversations" in done.err and "standard output" in done.err


def test_a_file_is_scored_into_a_file(plaudit: Run, reward_model: Path, tmp_path: Path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(lines_of(RECORDS))
    done = plaudit("score", reward_model, "--input", source, "--output", target, "--details")
    assert done.status == 0
    assert [len(json.loads(line)) for line in target.read_text().splitlines()] == [
        5,
        5,
    ]  # a reward and num_tokens more
    assert done.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--on-bad-record", "keep"], "--on-bad-record"), (["--dtype", "int8"], "--dtype")],
)
def test_a_wrong_choice_is_named(
    plaudit: Run, reward_model: Path, tmp_path: Path, words: list[str], said: str
):
    (tmp_path / "in.jsonl").write_text(lines_of(RECORDS))
    files = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
    done = plaudit("score", reward_model, *files, *words)
    assert done.status == 2 and said in done.err


def test_what_was_skipped_and_what_is_blank_is_said(plaudit: Run, reward_model: Path, tmp_path: Path):
    source = tmp_path / "in.jsonl"
    source.write_text(lines_of(RECORDS) + "\n{}\n")
    words = ["--input", source, "--output", tmp_path / "out.jsonl", "--on-bad-record", "skip"]
    done = plaudit("score", reward_model, *words)
    assert done.status == 0
    assert "1 bad records" in done.err and "1 blank lines" in done.err


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(reward_model: Path, tmp_path: Path):
    reader, writer = os.pipe()
    words = [
        str(Path(sys.executable).with_name("plaudit")),
        "score",
        str(reward_model),
        "--input",
        "-",
        "--output",
        str(tmp_path / "out.jsonl"),
    ]
    # A shell that runs tests in the background makes its children ignore Ctrl-C; a terminal's do not.
    with subprocess.Popen(
        words,
        stdin=reader,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        os.close(reader)
        assert process.stderr is not None
        while "sequence classification" not in process.stderr.readline():
            pass  # until the model is loaded; then it waits for lines that never come
        process.send_signal(signal.SIGINT)
        os.close(writer)  # should the signal be lost, the end of the input ends the program
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "interrupted. Give the same command again" in rest and "Traceback" not in rest
