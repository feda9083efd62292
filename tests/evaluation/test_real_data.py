"""On LLMBar and HumanEvalPack under RewardBench's names: sections and averages, and decisions that do not move."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plaudit.evaluation.folder import read_evaluation
from plaudit.evaluation.run import EvaluationRun, evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.evaluation.suites import find_suite
from plaudit.scoring import Scorer
from stand_ins.folders import write_reward_model
from stand_ins.processes import script_environment

LLMBAR = {
    "LLMBar/Natural": "llmbar-natural",
    "LLMBar/Adversarial/Neighbor": "llmbar-adver-neighbor",
    "LLMBar/Adversarial/GPTInst": "llmbar-adver-GPTInst",
    "LLMBar/Adversarial/GPTOut": "llmbar-adver-GPTOut",
    "LLMBar/Adversarial/Manual": "llmbar-adver-manual",
}

MAX_CHARACTERS = 700
"""Longer pairs are left out: the test has to be quick, and 500 pairs are as good as 1,400."""


@pytest.fixture(scope="module")
def records(shared_data: Path) -> list[dict[str, Any]]:
    found = []
    for line in (shared_data / "llmbar" / "pairs.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.append({**_texts(row), "subset": LLMBAR[row["subset"]]})
    for line in (shared_data / "humanevalpack" / "pairs.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.append({**_texts(row), "subset": f"hep-{row['language']}"})
    assert len(found) == 419 + 984
    short = [row for row in found if sum(map(len, row.values())) <= MAX_CHARACTERS]
    by_subset = defaultdict(list)
    for row in short:
        by_subset[row["subset"]].append(row)
    assert len(by_subset) == 11
    return [row for rows in by_subset.values() for row in rows[:12]]


def _texts(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in ("prompt", "chosen", "rejected", "id")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model"), max_position_embeddings=4096)


def run(model: Path, records: list[dict[str, Any]], folder: Path, **settings: Any) -> EvaluationRun:
    path = folder / "rewardbench.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in records))
    suite = find_suite("rewardbench")
    sets = [EvaluationSet(name="rewardbench", preferences=suite.read(str(path), progress=False), suite=suite)]
    scorer = Scorer.from_pretrained(model, dtype=torch.float32, device="cpu", **settings)
    return evaluate_suites(scorer, sets, progress=False)


@pytest.fixture(scope="module")
def expected(model: Path, records, tmp_path_factory: pytest.TempPathFactory) -> EvaluationRun:
    return run(model, records, tmp_path_factory.mktemp("expected"))


def test_sections_and_averages_are_those_of_the_counted_decisions(expected: EvaluationRun, records):
    result = expected.results["rewardbench"]
    scores, rows = result.suite_scores, result.rows
    assert scores is not None
    is_right = rows.reward_better > rows.reward_worse
    right = {name: is_right[rows.subset == code].mean() for code, name in enumerate(rows.subset_names)}
    counted = {"llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92}
    counted |= {"llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46}
    chat_hard = sum(right[name] * weight for name, weight in counted.items()) / sum(counted.values())
    code = np.mean([right[name] for name in right if name.startswith("hep-")])
    assert scores["Chat Hard"].value == pytest.approx(chat_hard)
    assert scores["Reasoning"].value == pytest.approx(code)
    assert len(rows) == len(records)


@pytest.mark.parametrize("settings", [{"max_tokens_per_pass": 700}, {"attention": "padded"}])
def test_decisions_do_not_move_with_passes_or_backend(
    expected: EvaluationRun, model: Path, records, tmp_path: Path, settings: dict[str, Any]
):
    found = run(model, records, tmp_path, **settings).results["rewardbench"]
    rows = expected.results["rewardbench"].rows
    np.testing.assert_allclose(found.rows.margin, rows.margin, atol=2e-5)
    np.testing.assert_array_equal(found.rows.margin > 0, rows.margin > 0)
    assert _values(found) == pytest.approx(_values(expected.results["rewardbench"]), nan_ok=True)


def test_decisions_do_not_move_with_the_order_of_the_file(
    expected: EvaluationRun, model: Path, records, tmp_path: Path
):
    found = run(model, records[::-1], tmp_path).results["rewardbench"]
    rows = expected.results["rewardbench"].rows
    np.testing.assert_array_equal(found.rows.margin[::-1] > 0, rows.margin > 0)
    ours, theirs = (
        {score.name: score.value for score in result.suite_scores.scores if score.kind == "section"}
        for result in (found, expected.results["rewardbench"])
    )
    assert ours == pytest.approx(theirs, nan_ok=True)


@pytest.mark.slow
def test_decisions_do_not_move_with_the_number_of_processes(
    expected: EvaluationRun, model: Path, records, tmp_path: Path
):
    """``plaudit eval`` itself, which starts two processes that speak by gloo."""
    path, out = tmp_path / "rewardbench.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in records))
    words = f"eval {model} --suite rewardbench={path} --output-dir {out} --num-processes 2".split()
    words += "--device cpu --dtype float32 --quiet".split()
    done = subprocess.run(
        [sys.executable, "-m", "plaudit.cli", *words],
        env=script_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((out / "rewards").iterdir())) == 2, "each process has scored a part"
    found, result = read_evaluation(out).suites["rewardbench"], expected.results["rewardbench"]
    np.testing.assert_allclose(found.rows.margin, result.rows.margin, atol=2e-5)
    np.testing.assert_array_equal(found.rows.margin > 0, result.rows.margin > 0)
    assert found.scores is not None
    assert [score.value for score in found.scores.scores] == pytest.approx(_values(result), nan_ok=True)


def _values(result) -> list[float]:
    return [score.value for score in result.suite_scores.scores]
