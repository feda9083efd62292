"""plaudit eval: the numbers it prints are those of plain transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stand_ins.folders import PAIRS

Run = Callable[..., Any]


def plain_rewards(folder: Path, texts: list[str]) -> list[float]:
    """Rewards of plain transformers, one text at a time, closed by the end-of-sequence token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    rewards = []
    for text in texts:
        ids = tokenizer(text + tokenizer.eos_token, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            rewards.append(float(model(input_ids=ids).logits[0, 0]))
    return rewards


def test_the_program_writes_results_and_rows_that_agree_with_plain_transformers(
    program: Run, reward_model: Path, pairs: Path, tmp_path: Path
):
    done = program(
        "eval", reward_model, "--data", pairs, "--output-dir", tmp_path / "out", "--dtype", "float32"
    )
    assert done.status == 0, done.err
    chosen = plain_rewards(reward_model, [p["prompt"] + p["chosen"] for p in PAIRS])
    rejected = plain_rewards(reward_model, [p["prompt"] + p["rejected"] for p in PAIRS])
    rows = pq.read_table(tmp_path / "out" / "pairs" / "rows.parquet")
    assert rows["reward_better"].to_pylist() == pytest.approx(chosen, abs=1e-5)
    assert rows["reward_worse"].to_pylist() == pytest.approx(rejected, abs=1e-5)
    accuracy = sum(c > r for c, r in zip(chosen, rejected, strict=True)) / len(PAIRS)
    results = json.loads((tmp_path / "out" / "pairs" / "results.json").read_text())
    assert results["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert f"{accuracy:.3f}" in done.out and "pick the longer" in done.out
    assert "Traceback" not in done.err and "Warning" not in done.err


def test_the_limit_takes_the_first_groups(plaudit: Run, reward_model: Path, pairs: Path, tmp_path: Path):
    done = plaudit("eval", reward_model, "--data", pairs, "--limit", "5", "--output-dir", tmp_path, "--quiet")
    assert done.status == 0
    sources = pq.read_table(tmp_path / "pairs" / "rows.parquet")["source"].to_pylist()
    assert sources == [f"{pairs}:{line}" for line in range(1, 6)]


def test_quiet_prints_the_table_alone(plaudit: Run, reward_model: Path, pairs: Path):
    done = plaudit("eval", reward_model, "--data", pairs, "--limit", "5", "--quiet")
    assert "accuracy" in done.out and "records" not in done.err and "attention" not in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ties", "third"], "--ties"),
        (["--on-overlength", "cut"], "--on-overlength"),
        (["--transcripts", "mesages"], "--transcripts"),
        (["--on-bad-record", "keep"], "--on-bad-record"),
        (["--attention", "flash"], "--attention"),
        (["--dtype", "int8"], "--dtype"),
        (["--device", "toaster"], "--device"),
        (["--limit", "0"], "--limit"),
        (["--max-length", "0"], "--max-length"),
        (["--max-tokens-per-pass", "0"], "--max-tokens-per-pass"),
        (["--column", "prompt"], "--column"),
    ],
)
def test_a_wrong_choice_is_named_without_a_traceback(
    plaudit: Run, reward_model: Path, pairs: Path, words: list[str], said: str
):
    done = plaudit("eval", reward_model, "--data", pairs, *words)
    assert done.status == 2
    assert done.err.splitlines()[-1].startswith("error: ") and said in done.err
    assert "Traceback" not in done.err


def test_a_model_without_a_head_is_refused(plaudit: Run, base: Path, pairs: Path):
    done = plaudit("eval", base, "--data", pairs)
    assert done.status == 2 and "no reward head" in done.err


def test_a_missing_file_names_the_nearest(plaudit: Run, reward_model: Path, pairs: Path):
    done = plaudit("eval", reward_model, "--data", pairs.with_name("pair.jsonl"))
    assert done.status == 2 and "pairs.jsonl" in done.err


def test_skipped_records_are_counted_and_written_down(plaudit: Run, reward_model: Path, tmp_path: Path):
    data = tmp_path / "a.jsonl"
    data.write_text('{"prompt": "2+2?", "chosen": "4", "rejected": "5"}\n[]\n')
    done = plaudit(
        "eval", reward_model, "--data", data, "--on-bad-record", "skip", "--output-dir", tmp_path / "out"
    )
    assert done.status == 0 and "1 bad records skipped" in done.err
    assert json.loads((tmp_path / "out" / "bad-records.jsonl").read_text())["line"] == 2
