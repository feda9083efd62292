"""A disk that is full is an error that says so; what was whole before stays whole, and nothing else stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from plaudit.training.disk import why_not_written
from stand_ins.folders import write_reward_model
from stand_ins.forked import Ranks, start_ranks
from stand_ins.processes import script_environment

SCRIPT = Path(__file__).with_name("disk_run.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "base", hidden_size=64)


def start(model: Path, output: Path, *words: object) -> Ranks:
    arguments = [str(model), str(output), *map(str, words)]
    return start_ranks(SCRIPT, arguments, num_processes=1, log_folder=output.with_name("logs"))


def line(ranks: Ranks, name: str) -> str:
    return next(text for text in ranks.text().splitlines() if text.startswith(name))


def sizes(model: Path, folder: Path) -> tuple[int, int]:
    """Bytes of the weights and of the optimiser's state in a checkpoint; the latter are about twice as many."""
    whole = folder / "sizes"
    assert start(model, whole, 0, 0).wait() == [0]
    weights = (whole / "checkpoint-1" / "model.safetensors").stat().st_size
    optimizer = (whole / "checkpoint-1" / "optimizer.pt").stat().st_size
    assert weights < optimizer
    shutil.rmtree(whole)
    return weights, optimizer


@pytest.mark.parametrize("file", ["the weights", "the optimiser's state"])
def test_a_checkpoint_that_does_not_fit_leaves_the_older_ones_and_nothing_half_written(
    model: Path, tmp_path: Path, file: str
) -> None:
    weights, optimizer = sizes(model, tmp_path)
    limit = weights // 2 if file == "the weights" else (weights + optimizer) // 2
    output = tmp_path / "run"
    failed = start(model, output, 2, limit)
    assert failed.wait() == [3], failed.text()[-3000:]
    said = line(failed, "PlauditError")
    assert "checkpoint-3 could not be written" in said and "GB free" in said and "--save-total-limit" in said
    if file == "the weights":
        assert "File too large" in said
    assert line(failed, "left:").split()[1:] == ["checkpoint-1", "checkpoint-2", "metrics.jsonl", "run.json"]
    assert line(failed, "beside:") == "beside:"
    # With room again the same command goes on, and ends as a run to which nothing happened.
    again = start(model, output, 0, 0)
    assert again.wait() == [0], again.text()[-3000:]
    assert start(model, tmp_path / "whole", 0, 0).wait() == [0]
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (output, tmp_path / "whole"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_a_final_model_that_does_not_fit_leaves_the_checkpoints_and_no_model(
    model: Path, tmp_path: Path
) -> None:
    weights, _ = sizes(model, tmp_path)
    failed = start(model, tmp_path / "run", 4, weights // 2)
    assert failed.wait() == [3], failed.text()[-3000:]
    assert "The model could not be written: File too large" in line(failed, "PlauditError")
    left = line(failed, "left:").split()[1:]
    assert [name for name in left if name.startswith("checkpoint")] == [
        f"checkpoint-{n}" for n in (1, 2, 3, 4)
    ]
    assert not {"config.json", "model.safetensors"} & set(left)
    assert line(failed, "beside:") == "beside:"


def test_on_a_file_system_without_space_it_is_the_same(model: Path, tmp_path: Path) -> None:
    weights, optimizer = sizes(model, tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    kib = (2 * (weights + optimizer) + optimizer) // 1024  # two checkpoints, and half of one
    script = f'mount -t tmpfs -o size={kib}k tmpfs "$0" && exec "$@"'
    arguments = [sys.executable, str(SCRIPT), str(model), str(disk / "run"), "0", "0"]
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*private, "true"], capture_output=True).returncode:
        pytest.skip("a process may not mount a file system of its own here")
    done = subprocess.run(
        [*private, "sh", "-c", script, str(disk), *arguments],
        env=script_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 3, done.stderr[-3000:]
    said, left = (
        next(text for text in done.stdout.splitlines() if text.startswith(name))
        for name in ("PlauditError", "left:")
    )
    assert "checkpoint-3 could not be written" in said
    assert left.split()[1:] == ["checkpoint-1", "checkpoint-2", "metrics.jsonl", "run.json"]


def test_other_errors_are_not_taken_for_a_full_disk() -> None:
    assert why_not_written(FileNotFoundError(2, "No such file or directory")) is None
    assert why_not_written(RuntimeError("shapes do not match")) is None
    inner = OSError(28, "No space left on device")
    outer = ValueError("while saving")
    outer.__cause__ = inner
    assert why_not_written(outer) == "No space left on device"
