"""Metrics are those of the data, whatever the batch size and the number of processes.

The truth is plain transformers, one sequence at a time. (A mean of batch means would be wrong: nine pairs at batch
size 8 make batches of 8 and 1.)
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.processes import run_script

SCRIPT = Path(__file__).with_name("exact_metrics_run.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def plain_rewards(model: Path) -> list[tuple[float, float]]:
    """Rewards of (chosen, rejected) by plain transformers."""
    plain = AutoModelForSequenceClassification.from_pretrained(model).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)

    def reward(text: str) -> float:
        ids = tokenizer(text + tokenizer.eos_token, return_tensors="pt").input_ids
        with torch.no_grad():
            return plain(input_ids=ids).logits[0, 0].item()

    return [(reward(p["prompt"] + p["chosen"]), reward(p["prompt"] + p["rejected"])) for p in PAIRS]


def run(model: Path, num_pairs: int, num_processes: int, tmp_path: Path) -> dict[str, Any]:
    output = tmp_path / "metrics.json"
    arguments = [str(model), str(num_pairs), str(8 // num_processes), str(output)]
    run_script(SCRIPT, arguments, num_processes=num_processes)
    return json.loads(output.read_text())


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("num_pairs", [9, 17])
def test_accuracy_and_loss_are_the_true_ones(
    model: Path, plain_rewards: list[tuple[float, float]], num_pairs: int, num_processes: int, tmp_path: Path
) -> None:
    result = run(model, num_pairs, num_processes, tmp_path)
    pairs = plain_rewards[:num_pairs]
    accuracy = sum(chosen > rejected for chosen, rejected in pairs) / num_pairs
    loss = sum(math.log1p(math.exp(rejected - chosen)) for chosen, rejected in pairs) / num_pairs
    batch_means = [
        sum(chosen > rejected for chosen, rejected in pairs[i : i + 8]) / len(pairs[i : i + 8])
        for i in range(0, num_pairs, 8)
    ]
    assert sum(batch_means) / len(batch_means) != accuracy, "the wrong rule would pass too"
    for part, prefix in (("train", "rm/"), ("eval", "eval_rm/")):
        metrics = result[part]
        assert metrics[f"{prefix}accuracy"] == accuracy
        assert metrics[f"{prefix}loss"] == pytest.approx(loss, abs=1e-6)
        assert metrics[f"{prefix}chosen_rewards"] == pytest.approx(
            sum(chosen for chosen, _ in pairs) / num_pairs, abs=1e-6
        )
    assert result["train"]["episode"] == num_pairs
    assert result["eval"]["eval_num_comparisons"] == num_pairs
    assert result["steps"] == -(-num_pairs // 8)
    rewards, metrics = result["predict"]
    assert len(rewards) == num_pairs and metrics["test_rm/accuracy"] == accuracy
    for ours, plain in zip(rewards, pairs, strict=True):
        assert ours == pytest.approx(plain, abs=1e-5)
