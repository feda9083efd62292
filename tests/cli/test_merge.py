"""plaudit merge: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from stand_ins.folders import write_reward_model

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("other"), seed=1)


def test_it_writes_the_mean_and_says_what_it_is_of(
    plaudit: Run, reward_model: Path, other: Path, tmp_path: Path
):
    done = plaudit("merge", reward_model, other, "--output-dir", tmp_path / "out", "--weights", "0.25,0.75")
    assert done.status == 0, done.err
    heads = [
        load_file(f / "model.safetensors")["score.weight"] for f in (reward_model, other, tmp_path / "out")
    ]
    assert (heads[2] - (0.25 * heads[0] + 0.75 * heads[1])).abs().max() < 1e-7
    assert f"0.25 of {reward_model}, 0.75 of {other}" in done.out
    assert "plaudit calibrate" in done.out and "Traceback" not in done.err
    record = json.loads((tmp_path / "out" / "plaudit.json").read_text())
    assert [entry["weight"] for entry in record["averaged_from"]] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "a,b"], "--weights"),
        (["--weights", "1"], "--weights"),
        (["--dtype", "int8"], "--dtype"),
    ],
)
def test_a_wrong_choice_is_named(
    plaudit: Run, reward_model: Path, tmp_path: Path, words: list[str], said: str
):
    done = plaudit("merge", reward_model, reward_model, "--output-dir", tmp_path / "out", *words)
    assert done.status == 2 and said in done.err and not list(tmp_path.iterdir())


def test_a_model_that_does_not_fit_is_named(plaudit: Run, reward_model: Path, tmp_path: Path):
    wide = write_reward_model(tmp_path / "wide", hidden_size=64)
    done = plaudit("merge", reward_model, wide, "--output-dir", tmp_path / "out")
    assert done.status == 2 and "head_dim in config.json: 8 and 16" in done.err
    assert not (tmp_path / "out").exists()
