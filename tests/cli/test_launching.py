"""One command, several processes: by plaudit itself, torchrun on two nodes, accelerate launch, SLURM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from transformers import AutoModelForSequenceClassification

from plaudit.cli.launching import num_to_launch
from plaudit.errors import PlauditError
from plaudit.training.parallel import prepare_environment

EXAMPLES = Path(__file__).parents[2] / "examples" / "launch"
PROGRAM = Path(sys.executable).with_name("plaudit")
SMALL = ["--max-steps", "2", "--per-device-train-batch-size", "2", "--use-cpu", "--bf16", "false", "--quiet"]


def start(words: list[object], **environment: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([*environment.pop("PATHS", ()), str(PROGRAM.parent), os.environ["PATH"]])  # type: ignore[misc]
    own = {name: str(value) for name, value in environment.items()}
    return subprocess.Popen(
        [str(word) for word in words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and standard error."""
    _, err = process.communicate(timeout=240)
    return process.returncode, err


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def expect_trained(folder: Path, world_size: int) -> None:
    assert yaml.safe_load((folder / "run.yaml").read_text())["world_size"] == world_size
    _, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


def test_plaudit_starts_itself_in_several_processes(base: Path, pairs: Path, tmp_path: Path) -> None:
    script = [EXAMPLES / "one-node.sh", *SMALL]
    status, err = finish(
        start(script, MODEL=base, DATA=pairs, OUTPUT_DIR=tmp_path / "run", NUM_PROCESSES=2, PARALLEL="fsdp2")
    )
    assert status == 0, err
    expect_trained(tmp_path / "run", world_size=2)


def test_a_mistake_is_said_once_and_ends_with_its_own_status(tmp_path: Path) -> None:
    words = [PROGRAM, "train", "--num-processes", 2, "--model", tmp_path / "nowhere", "--data", "x.jsonl"]
    status, err = finish(start([*words, "--output-dir", tmp_path / "run", *SMALL]))
    assert status == 2
    assert err.count("error:") == 1 and str(tmp_path / "nowhere") in err.replace("\n", "")
    assert "Traceback" not in err and "ChildFailedError" not in err


def test_a_process_that_is_killed_ends_the_command_with_its_status_and_name(
    base: Path, pairs: Path, tmp_path: Path
) -> None:
    words = [PROGRAM, "train", "--num-processes", 2, "--model", base, "--data", pairs]
    process = start([*words, "--output-dir", tmp_path / "run", *SMALL])
    children: list[psutil.Process] = []
    while len(children) < 2 and process.poll() is None:
        time.sleep(0.05)
        children = [c for c in psutil.Process(process.pid).children() if "plaudit.cli" in c.cmdline()]
    (second,) = [child for child in children if child.environ().get("LOCAL_RANK") == "1"]
    second.kill()
    status, err = finish(process)
    assert status == 128 + signal.SIGKILL
    assert "process 1 of 2 was the first to fail" in err


def test_accelerate_launch(base: Path, pairs: Path, tmp_path: Path) -> None:
    given = {"MODEL": base, "DATA": pairs, "OUTPUT_DIR": tmp_path / "run", "PARALLEL": "ddp"}
    given |= {"NUM_NODES": 1, "NODE": 0, "NUM_PROCESSES": 2, "FIRST_NODE": "127.0.0.1", "PORT": free_port()}
    status, err = finish(start([EXAMPLES / "accelerate.sh", *SMALL], **given))
    assert status == 0, err
    expect_trained(tmp_path / "run", world_size=2)


def test_torchrun_on_two_nodes_of_slurm(base: Path, pairs: Path, tmp_path: Path) -> None:
    """SLURM's own programs are stand-ins: two nodes, which are this machine."""
    for name, text in (
        ("scontrol", "echo 127.0.0.1\nfor _ in {1..9999}; do echo another-node; done\n"),
        ("srun", 'shift\n"$@" & first=$!\n"$@"\nwait $first\n'),
    ):
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\nset -e\n{text}")
        (tmp_path / name).chmod(0o755)
    given = {"MODEL": base, "DATA": pairs, "OUTPUT_DIR": tmp_path / "run", "PARALLEL": "ddp"}
    given |= {"SLURM_JOB_NUM_NODES": 2, "SLURM_JOB_ID": 7, "SLURM_JOB_NODELIST": "node-[0-1]"}
    given |= {"SLURM_SUBMIT_DIR": EXAMPLES.parents[1], "NUM_PROCESSES": 1, "PORT": free_port()}
    status, err = finish(start(["bash", EXAMPLES / "slurm.sbatch", *SMALL], PATHS=[str(tmp_path)], **given))
    assert status == 0, err
    expect_trained(tmp_path / "run", world_size=2)


@pytest.mark.parametrize(("asked", "launched", "number"), [(None, False, 1), (4, False, 4), (4, True, 1)])
def test_a_process_that_a_launcher_started_starts_no_others(
    asked: int | None, launched: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    if launched:
        monkeypatch.setenv("LOCAL_RANK", "0")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert num_to_launch(asked) == number


def test_less_than_one_process_is_an_error() -> None:
    with pytest.raises(PlauditError, match="0 processes"):
        num_to_launch(0)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_command_reaches_all_processes_and_they_say_how_it_ends(
    base: Path, pairs: Path, tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    words = [PROGRAM, "train", "--num-processes", 2, "--model", base, "--data", pairs, *SMALL]
    words += ["--max-steps", 100_000, "--save-steps", 5, "--output-dir", tmp_path / "run"]
    process = start(words)
    while process.poll() is None and not (tmp_path / "run" / "checkpoint-5").exists():
        time.sleep(0.02)
    process.send_signal(number)
    status, err = finish(process)
    assert status == expected, err[-3000:]
    assert "Traceback" not in err and "first to fail" not in err
    assert ("is saved; the same command goes on from it" in " ".join(err.split())) == (expected == 143)


def test_srun_that_starts_the_same_run_several_times_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    with pytest.raises(PlauditError, match=r"8 times.*torchrun"):
        num_to_launch(None)
    monkeypatch.setenv("LOCAL_RANK", "0")  # torchrun under srun
    assert num_to_launch(None) == 1


@pytest.mark.parametrize(("seconds_left", "is_queued_again"), [(100, True), (5_000, False)])
def test_the_job_is_queued_again_where_its_time_was_up_and_not_where_it_failed(
    tmp_path: Path, seconds_left: int, is_queued_again: bool
) -> None:
    for name, text in (
        ("scontrol", f'echo "$@" >> {tmp_path}/said\necho 127.0.0.1\n'),
        ("srun", "exit 1\n"),
    ):
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (tmp_path / name).chmod(0o755)
    given = {"MODEL": "base", "DATA": "pairs", "OUTPUT_DIR": tmp_path / "run", "PARALLEL": "ddp"}
    given |= {"SLURM_JOB_NUM_NODES": 2, "SLURM_JOB_ID": 7, "SLURM_JOB_NODELIST": "node-[0-1]"}
    given |= {"SLURM_SUBMIT_DIR": EXAMPLES.parents[1], "SLURM_JOB_END_TIME": int(time.time()) + seconds_left}
    status, _ = finish(start(["bash", EXAMPLES / "slurm.sbatch"], PATHS=[str(tmp_path)], **given))
    assert status == 1
    assert ("requeue 7" in (tmp_path / "said").read_text()) == is_queued_again


def test_an_engine_in_one_process_leaves_nothing_that_looks_like_a_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PLAUDIT_ALONE_PORT", "to be put back")
    prepare_environment("fsdp2", use_cpu=True)
    assert os.environ["LOCAL_RANK"] == "0"
    assert num_to_launch(2) == 2, "a command that a script or notebook starts later"


def test_a_signal_before_there_is_a_process_to_pass_it_to_is_not_lost() -> None:
    code = (
        "import os, signal\n"
        "from plaudit.cli.launching import _passing_signals_on\n"
        "with _passing_signals_on():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    status, err = finish(start([sys.executable, "-c", code]))
    assert status == 143, err
