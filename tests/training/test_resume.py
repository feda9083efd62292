"""A run that is killed and started again ends with the weights of one that was not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stand_ins.folders import write_reward_model
from stand_ins.processes import script_environment

SCRIPT = Path(__file__).with_name("resume_run.py")
NUM_STEPS = 16  # 61 groups: 8 steps an epoch, two epochs


def start(model: Path, output: Path, kill_after: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(model), str(output), str(kill_after)],
        env=script_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    return out


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    output = tmp_path_factory.mktemp("whole") / "run"
    finish(start(model, output))
    return load_file(output / "model.safetensors")


def expect_same_weights(output: Path, expected: dict[str, torch.Tensor], model: Path) -> None:
    weights = load_file(output / "model.safetensors")
    before = load_file(model / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert any(not torch.equal(weights[name], before[name]) for name in weights), "nothing was trained"
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor), name


def test_killed_after_a_random_step_and_resumed_the_weights_are_the_same(
    model: Path, uninterrupted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    step = random.SystemRandom().randrange(1, NUM_STEPS)
    print(f"killed after step {step}")
    output = tmp_path / "run"
    killed = start(model, output, kill_after=step)
    killed.communicate(timeout=240)
    assert killed.returncode == -signal.SIGKILL
    resumed_from = finish(start(model, output))
    last_saved = step // 2 * 2 if step % 2 else step - 2  # the kill comes before that step's save
    assert ("from None" if last_saved <= 0 else f"checkpoint-{last_saved}") in resumed_from
    expect_same_weights(output, uninterrupted, model)


def test_killed_while_a_checkpoint_is_written_the_weights_are_the_same(
    model: Path, uninterrupted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    process = start(model, output)
    while process.poll() is None and not (output / "checkpoint-6").exists():
        time.sleep(0.0005)
    process.kill()
    process.communicate(timeout=240)
    finish(start(model, output))
    expect_same_weights(output, uninterrupted, model)
