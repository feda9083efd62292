"""plaudit eval on several models, suites and data sets; models that are servers or files of rewards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plaudit.cli.evaluate_sets import SetReader, split_name
from plaudit.cli.reading import ReadOptions
from plaudit.evaluation.folder import read_evaluation
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.reward_server import reward_of, serve

Run = Callable[..., Any]

SUBSETS = ("alpacaeval-easy", "llmbar-natural", "xstest-should-refuse", "hep-python")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of RewardBench's schema."""
    path = tmp_path_factory.mktemp("bench") / "rb.jsonl"
    rows = [{**pair, "subset": SUBSETS[i % 4], "id": str(i)} for i, pair in enumerate(PAIRS[:16])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_several_models_have_a_folder_each_and_stand_side_by_side(
    plaudit: Run, reward_model: Path, pairs: Path, bench: Path, tmp_path: Path
):
    other = write_reward_model(tmp_path / "other", seed=1)
    words = [
        "--suite",
        f"rewardbench={bench}",
        "--data",
        pairs,
        "--limit",
        "12",
        "--output-dir",
        tmp_path / "o",
    ]
    done = plaudit("eval", reward_model, other, *words)
    assert done.status == 0, done.err
    for name in (reward_model.name, "other"):
        found = read_evaluation(tmp_path / "o" / name)
        assert list(found.suites) == ["rewardbench", "pairs"]
        assert len(found.suites["pairs"].rows) == 12
        assert found.suites["rewardbench"].scores is not None
    assert "Models" in done.out and "pairs: accuracy" in done.out and "Chat Hard" in done.out


def test_the_same_command_again_scores_nothing(plaudit: Run, reward_model: Path, pairs: Path, tmp_path: Path):
    words = ("eval", reward_model, "--data", pairs, "--limit", "6", "--output-dir", tmp_path)
    first = plaudit(*words)
    again = plaudit(*words)
    assert first.status == again.status == 0
    assert "12 of 12 sequences were scored before" in again.err
    assert "12 of 12 sequences" not in first.err


def test_a_server_is_a_model(plaudit: Run, pairs: Path, tmp_path: Path):
    with serve("vllm-classify") as server:
        done = plaudit("eval", server.url, "--data", pairs, "--transcripts", "text", "--output-dir", tmp_path)
    assert done.status == 0, done.err
    right = sum(reward_of(p["chosen"]) > reward_of(p["rejected"]) for p in PAIRS)
    assert read_evaluation(tmp_path).suites["pairs"].result["metrics"]["accuracy"]["value"] == right / len(
        PAIRS
    )


def test_a_file_of_rewards_is_a_model(plaudit: Run, pairs: Path, tmp_path: Path):
    rows = [
        {"prompt": p["prompt"], "completions": [p["chosen"], p["rejected"]], "rewards": [i % 2, 0.5]}
        for i, p in enumerate(PAIRS)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--data", pairs, "--transcripts", "text", "--quiet")
    assert "0.500" in plaudit("eval", path, *words).out
    assert "0.500" in plaudit("eval", "--rewards", path, *words).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "rewardbenhc"], "rewardbench2"),
        ([], "--suite or --data"),
        (["--protocol", "grpc"], "vllm-classify"),
        (["--concurrency", "0"], "--concurrency"),
    ],
)
def test_a_wrong_choice_is_named(plaudit: Run, pairs: Path, words: list[str], said: str):
    data = ["--data", pairs] if words and words[0] != "--suite" else []
    done = plaudit("eval", "http://127.0.0.1:9", *data, *words)
    assert done.status == 2
    assert done.err.splitlines()[-1].startswith("error: ") and said in done.err


def test_nothing_to_evaluate_is_said(plaudit: Run, pairs: Path):
    done = plaudit("eval", "--data", pairs)
    assert done.status == 2 and "Name a model, a server or --rewards" in done.err


def test_an_ensemble_again_scores_nothing_and_another_combination_is_another_model(
    plaudit: Run, reward_model: Path, pairs: Path, tmp_path: Path
):
    other = write_reward_model(tmp_path / "other", seed=1)
    words = ["eval", reward_model, other, "--data", pairs, "--limit", "6", "--output-dir", tmp_path / "o"]
    first = plaudit(*words, "--combine", "uwo")
    again = plaudit(*words, "--combine", "uwo")
    assert first.status == again.status == 0, first.err + again.err
    assert "12 of 12 sequences were scored before" in again.err
    changed = plaudit(*words, "--combine", "uwo", "--uwo-coefficient", "0.25")
    assert changed.status == 2 and "results of another model" in changed.err


def test_a_file_of_rewards_again_is_the_same_model(plaudit: Run, pairs: Path, tmp_path: Path):
    rows = [
        {"prompt": p["prompt"], "completions": [p["chosen"], p["rejected"]], "rewards": [i % 2, 0.5]}
        for i, p in enumerate(PAIRS)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):
        done = plaudit("eval", path, "--data", pairs, "--transcripts", "text", "--output-dir", tmp_path / "o")
        assert done.status == 0, done.err


def test_data_have_the_name_that_their_user_gives(plaudit: Run, pairs: Path, bench: Path, tmp_path: Path):
    folder = tmp_path / "a=b"
    folder.mkdir()
    (folder / "pairs.jsonl").write_text(pairs.read_text())
    rewards = tmp_path / "rewards.jsonl"
    rows = [
        {"prompt": p["prompt"], "completions": [p["chosen"], p["rejected"]], "rewards": [1, 0]} for p in PAIRS
    ]
    rewards.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [
        f"mine={pairs}",
        f"half={pairs}=0.5",
        f"deep={folder / 'pairs.jsonl'}",
        folder / "*.jsonl",
        bench,
    ]
    words = [word for entry in given for word in ("--data", entry)]
    out = tmp_path / "o"
    done = plaudit(
        "eval",
        rewards,
        *words,
        "--suite",
        f"rewardbench={bench}",
        "--transcripts",
        "text",
        "--output-dir",
        out,
    )
    assert done.status == 0, done.err
    found = read_evaluation(out).suites
    assert list(found) == ["rewardbench", "mine", "half", "deep", "a-b", "rb"]
    assert [len(found[name].rows) for name in ("mine", "half", "deep")] == [64, 32, 64]


def test_a_name_that_something_has_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    (tmp_path / "lr=1" / "a=b.jsonl").write_text("")
    (tmp_path / "a=b.jsonl").write_text("")
    (tmp_path / "a=b[1].jsonl").write_text("")
    sources = [
        "a=b[1].jsonl",
        "a=b.jsonl",
        "a=b.jsonl=0.5",
        "a=b.jsonl@train",
        "lr=1",
        "lr=*/*.jsonl",
        "lr=1/a=b.jsonl",
        "./x=y.jsonl",
    ]
    assert [split_name(source) for source in sources] == [(None, source) for source in sources]
    assert split_name("x=a=b.jsonl=10") == ("x", "a=b.jsonl=10")
    assert split_name("x=org/name:config@test") == ("x", "org/name:config@test")


@pytest.mark.parametrize(
    "entries", [["a=x.jsonl", "a=y.jsonl"], ["rewardbench=x.jsonl"], ["=x.jsonl"], ["x="]]
)
def test_a_name_that_cannot_be_is_refused(plaudit: Run, bench: Path, entries: list[str]):
    words = [word for entry in entries for word in ("--data", entry)]
    done = plaudit("eval", "http://127.0.0.1:9", "--suite", f"rewardbench={bench}", *words)
    assert done.status == 2 and "--data: " in done.err
    assert "two sets are called" in done.err or "which name" in done.err


def test_a_path_whose_name_was_given_to_others_gets_a_number(pairs: Path, bench: Path):
    read = SetReader(
        [f"rewardbench={bench}"],
        [f"pairs={bench}", str(pairs)],
        ReadOptions(),
        limit=None,
        bad_records_folder=None,
        progress=False,
        on_read=lambda *_: None,
    )
    assert read.names == ["rewardbench", "pairs", "pairs-2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--concurrency", "0"], "--concurrency"),
        (["--protocol", "x"], "--protocol"),
        (["--timeout", "nan"], "--timeout"),
        (["--combine", "mean"], "--combine"),
        (["--output-dir", "FILE"], "is a file, not a folder"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_file_of_rewards_too(
    plaudit: Run, pairs: Path, tmp_path: Path, words: list[str], said: str
):
    rewards = tmp_path / "rewards.jsonl"
    rows = [
        {"prompt": p["prompt"], "completions": [p["chosen"], p["rejected"]], "rewards": [1, 0]} for p in PAIRS
    ]
    rewards.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = plaudit("eval", rewards, "--data", pairs, *(rewards if w == "FILE" else w for w in words))
    assert done.status == 2 and said in done.err, done.err


def test_a_servers_password_is_not_in_the_results(plaudit: Run, pairs: Path, tmp_path: Path):
    with serve("plaudit") as server:
        address = server.url.replace("http://", "http://me:sesame@")
        done = plaudit("eval", address, "--data", pairs, "--limit", "3", "--output-dir", tmp_path)
    assert done.status == 0, done.err
    assert read_evaluation(tmp_path).model == server.url
    assert "sesame" not in done.out + done.err
    assert not any(b"sesame" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
