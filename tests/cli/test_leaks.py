"""plaudit leaks: a planted row is counted, named and written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stand_ins.folders import PAIRS

Run = Callable[..., Any]


def test_a_planted_row_is_named(plaudit: Run, pairs: Path, tmp_path: Path):
    held_out = tmp_path / "held-out.jsonl"
    fresh = {"prompt": "Something else entirely?", "chosen": "Yes, entirely.", "rejected": "Not at all."}
    held_out.write_text(json.dumps(fresh) + "\n" + json.dumps(PAIRS[5]) + "\n")
    done = plaudit(
        "leaks", "--train", pairs, "--data", held_out, "--output", tmp_path / "leaks.json", "--quiet"
    )
    assert done.status == 0, done.err
    assert f"{held_out}:2" in done.out and f"{held_out}:1" not in done.out
    report = json.loads((tmp_path / "leaks.json").read_text())["sets"][str(held_out)]
    assert (report["num_rows"], report["num_prompts_equal"], report["num_training_rows"]) == (2, 1, 64)
    assert report["rows"][0]["found_in"] == f"{pairs}:6"


def test_nothing_to_look_for_is_said(plaudit: Run, pairs: Path):
    done = plaudit("leaks", "--train", pairs)
    assert done.status == 2 and "--suite" in done.err


def test_an_unknown_suite_lists_the_known(plaudit: Run, pairs: Path):
    done = plaudit("leaks", "--train", pairs, "--suite", "rewardbanch")
    assert done.status == 2 and "rewardbench" in done.err


def test_what_is_found_is_said_without_what_is_not_there(plaudit: Run, tmp_path: Path):
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held-out.jsonl"
    copied = "It was the best of times."
    train.write_text(json.dumps({"prompt": "Quote it.", "chosen": copied, "rejected": "No."}) + "\n")
    records = [
        {"prompt": f"Which book is it, {i}?", "chosen": copied, "rejected": "No."} for i in range(2)
    ] + [{"prompt": "Quote it!", "chosen": "Never, I said.", "rejected": "No."}]
    held_out.write_text("".join(json.dumps(record) + "\n" for record in records))
    done = plaudit("leaks", "--train", train, "--data", held_out, "--quiet")
    assert done.status == 0, done.err
    assert "nan" not in done.out
    assert f"{held_out}:1: 1 completion equal; {train}:1" in done.out
    assert f"{held_out}:3: prompt equal; {train}:1" in done.out
    # "No." three times and "Never, I said."
    assert "4 completions as a whole (under 5 words" in done.out


def test_a_share_of_the_runs_is_said_of_the_part_that_has_it(plaudit: Run, tmp_path: Path):
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held-out.jsonl"
    words = [f"w{i}" for i in range(16)]
    train.write_text(
        json.dumps({"prompt": " ".join(["so", *words[:14]]), "chosen": "a", "rejected": "b"}) + "\n"
    )
    held_out.write_text(json.dumps({"prompt": " ".join(words), "chosen": "c", "rejected": "d"}) + "\n")
    done = plaudit("leaks", "--train", train, "--data", held_out, "--quiet")
    # 16 words have 4 runs of 13, and 14 of them have 2.
    assert f"{held_out}:1: 50% of the runs of 13 words of the prompt; {train}:1" in done.out
