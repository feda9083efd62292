"""``plaudit plan`` from words to tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from plaudit.cli import plan
from plaudit.errors import PlauditError


@pytest.fixture
def run() -> Callable[..., Result]:
    """The command in an app of its own."""
    app = typer.Typer()
    app.callback()(lambda: None)
    plan.register(app)
    return lambda *words: CliRunner().invoke(app, ["plan", *map(str, words)], env={"COLUMNS": "240"})


def as_json(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def test_the_tables_say_how_each_line_is_known(run: Callable[..., Result], model: Path, pairs: Path):
    done = run("--model", model, "--data", pairs, "--num-gpus", 2, "--parallel", "fsdp2", "--quiet")
    assert done.exit_code == 0, done.exception
    for said in (
        "exact: counted by the trainer's own loader",
        "exact: Trainer's rule",
        "traced: the model's own code",
        "NVIDIA H100 SXM",
        "FITS",
        "assumed",
        "GiB",
        "s a step",
        "GPU hours",
    ):
        assert said in " ".join(done.stdout.split()), said


def test_settings_of_train_count_from_flags_and_from_a_file(
    run: Callable[..., Result], model: Path, pairs: Path, tmp_path: Path
):
    words = ["--model", model, "--data", pairs, "--json", "--no-memory"]
    settings = {"per_device_train_batch_size": 16, "num_train_epochs": 2, "max_length": None}
    flags = ["--per-device-train-batch-size", 16, "--num-train-epochs", 2, "--max-length", "none"]
    file = tmp_path / "run.yaml"
    file.write_text(
        yaml.safe_dump({**settings, "model": str(model), "data": [str(pairs)], "parallel": "fsdp2"})
    )
    by_flags = as_json(run(*words, *flags, "--parallel", "fsdp2"))
    by_file = as_json(run("--config", file, "--json", "--no-memory"))
    assert by_flags == by_file
    assert by_flags["steps"]["num_steps"] == 8 and by_flags["parallel"] == "fsdp2"


def test_what_is_held_out_is_not_trained_on(run: Callable[..., Result], model: Path, pairs: Path):
    words = ["--model", model, "--data", pairs, "--json", "--no-memory"]
    assert as_json(run(*words, "--eval-groups", 16))["num_groups"] == 48


def test_a_gpu_gets_bf16_and_the_cpu_does_not(run: Callable[..., Result], model: Path, pairs: Path):
    words = ["--model", model, "--data", pairs, "--json", "--no-memory"]
    assert as_json(run(*words))["precision"]["autocast"] == "torch.bfloat16"
    assert as_json(run(*words, "--gpu", "cpu"))["precision"]["autocast"] == "None"
    assert as_json(run(*words, "--fp16"))["precision"]["autocast"] == "torch.float16"


def test_lengths_may_stand_for_data(run: Callable[..., Result], model: Path):
    words = ["--model", model, "--mean-tokens", 200, "--num-comparisons", 1_000_000, "--num-gpus", 4]
    done = as_json(run(*words, "--sample-steps", 3, "--no-memory", "--json"))
    assert done["num_comparisons"] == 1_000_000 and not done["tokens"]["is_exact"]
    assert any("assumed" in note for note in done["notes"])
    # Two sequences of 200 tokens, half of them shared, three epochs: 300 computed tokens a pair.
    assert done["tokens"]["num_tokens"] == pytest.approx(3 * 300e6, rel=0.1)


def test_all_that_is_wrong_is_said_at_once(run: Callable[..., Result]):
    done = run("--num-gpus", 0, "--no-such-setting", 1)
    assert isinstance(done.exception, PlauditError)
    for said in ("the model is missing", "the data is missing", "--num-gpus", "--no-such-setting"):
        assert said in str(done.exception), said


def test_an_unknown_gpu_lists_those_that_are_known(run: Callable[..., Result], model: Path, pairs: Path):
    done = run("--model", model, "--data", pairs, "--gpu", "h800")
    assert isinstance(done.exception, PlauditError) and "h100" in str(done.exception)


def test_nothing_is_written(
    run: Callable[..., Result], model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    as_json(run("--model", model, "--data", pairs, "--json", "--max-steps", 1))
    assert not list(tmp_path.iterdir())
