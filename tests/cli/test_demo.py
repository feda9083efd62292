"""The demo: its task is honest, and it runs through."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from plaudit.cli.demo_task import NUM_SAMPLES, make_records, verify

Run = Callable[..., Any]


def comparisons(num: int, seed: int = 0) -> list[tuple[str, str]]:
    """Right and wrong answers to the same question."""
    found: list[tuple[str, str]] = []
    for record in make_records(num, seed=seed):
        right = [s["text"] for s in record["samples"] if s["is_correct"]]
        wrong = [s["text"] for s in record["samples"] if not s["is_correct"]]
        found += product(right, wrong)
        if len(found) >= num:
            return found[:num]
    return found


def test_the_longer_or_shorter_answer_is_right_no_more_than_chance_says():
    pairs = comparisons(2000)
    assert len(pairs) == 2000
    longer = sum(len(right) > len(wrong) for right, wrong in pairs) / 2000
    shorter = sum(len(right) < len(wrong) for right, wrong in pairs) / 2000
    assert max(longer, shorter) <= 0.60
    assert min(longer, shorter) > 0.25  # lengths do differ: the baseline is no tie by construction


def test_right_and_wrong_answers_hold_the_same_numbers():
    for right, wrong in comparisons(500):
        assert sorted(right.split(".")[0].split()) == sorted(wrong.split(".")[0].split())


def test_verdicts_are_those_of_sorting():
    for record in make_records(200, seed=3):
        asked = record["prompt"].removeprefix("Sort: ").removesuffix(".").split()
        for sample in record["samples"]:
            answer = [int(number) for number in sample["text"].split(".")[0].split()]
            assert sample["is_correct"] == (answer == sorted(map(int, asked)))


def test_the_check_refuses_what_is_no_answer():
    record = {"numbers": [12, 11]}
    assert verify(record, " 11 12.") and not verify(record, "") and not verify(record, " eleven twelve.")


def test_questions_are_distinct_and_some_answers_are_right_and_some_wrong():
    records = list(make_records(500, seed=1))
    assert len({record["prompt"] for record in records}) == 500
    assert all(len(record["samples"]) == NUM_SAMPLES for record in records)
    share = sum(s["is_correct"] for r in records for s in r["samples"]) / (500 * NUM_SAMPLES)
    assert 0.3 < share < 0.6


def test_the_same_seed_asks_the_same_questions():
    assert list(make_records(20, seed=5)) == list(make_records(20, seed=5)) != list(make_records(20, seed=6))


def test_the_same_seed_gives_the_same_model(plaudit: Run, tmp_path: Path):
    sizes = ["--num-questions", 40, "--num-test-questions", 8, "--steps", 3, "--seed", 4]
    folders = [tmp_path / "one", tmp_path / "other"]
    weights = []
    for folder in folders:
        assert plaudit("demo", "--output-dir", folder, *sizes).status == 0
        weights.append((folder / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_demo_runs_through_and_its_folder_works(plaudit: Run, tmp_path: Path):
    folder = tmp_path / "demo"
    sizes = ["--num-questions", 60, "--num-test-questions", 20, "--steps", 4]
    done = plaudit("demo", "--output-dir", folder, *sizes)
    assert done.status == 0, done.err
    for said in (
        "held-out accuracy",
        "pick the longer",
        "best of 8",
        "oracle",
        "plaudit eval",
        "plaudit score",
    ):
        assert said in done.out
    train, test = (
        {json.loads(line)["prompt"] for line in (folder / name).read_text().splitlines()}
        for name in ("train.jsonl", "test.jsonl")
    )
    assert (len(train), len(test), len(train & test)) == (60, 20, 0)
    assert (folder / "evaluation" / "results.json").is_file()
    scored = folder / "scored.jsonl"
    words = ["--input", folder / "answers.jsonl", "--output", scored]
    assert plaudit("score", folder / "model", *words).status == 0
    assert all(len(json.loads(line)["rewards"]) == NUM_SAMPLES for line in scored.read_text().splitlines())
