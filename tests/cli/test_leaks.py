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
