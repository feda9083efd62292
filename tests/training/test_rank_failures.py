"""A process that ends takes its run down within seconds, and its error is the one that is shown."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed import DistBackendError

from plaudit.training.liveness import is_alive, is_of_lost_neighbour
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.forked import start_ranks
from stand_ins.processes import script_environment

SCRIPT = Path(__file__).with_name("rank_run.py")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command, without its output folder."""
    folder = tmp_path_factory.mktemp("inputs")
    model, data = write_reward_model(folder / "base"), folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    given = ["train", "--model", str(model), "--data", str(data), "--use-cpu", "--bf16", "false", "--quiet"]
    return [*given, "--max-steps", "4", "--save-steps", "2", "--gradient-checkpointing", "false"]


def torchrun(*arguments: str) -> tuple[int, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    done = subprocess.run(
        [*launcher, *arguments], env=script_environment(), capture_output=True, text=True, timeout=240
    )
    return done.returncode, done.stdout + done.stderr


def root_cause(text: str) -> str:
    return text.partition("Root Cause (first observed failure):")[2]


@pytest.mark.parametrize("how", ["killed", "error"])
def test_torchrun_shows_the_failure_of_the_process_that_failed_first(
    words: list[str], tmp_path: Path, how: str
) -> None:
    status, text = torchrun(str(SCRIPT), how, *words, "--output-dir", str(tmp_path / "rm"))
    assert status != 0
    cause = root_cause(text)
    assert re.search(r"rank\s+: 1 ", cause), text[-4000:]
    assert ("SIGKILL" if how == "killed" else "RuntimeError: the network drive of this node is gone") in cause
    # What follows from it elsewhere has no traceback of its own.
    assert "Connection closed by peer" not in text and "gloo" not in text, text[-4000:]
    assert not list((tmp_path / "rm").glob("checkpoint-*"))


def test_what_a_person_can_fix_is_said_once_by_all_processes_together(
    words: list[str], tmp_path: Path
) -> None:
    wrong = [*words, "--output-dir", str(tmp_path / "rm"), "--data", str(tmp_path / "nothing.jsonl")]
    status, text = torchrun("-m", "plaudit.cli", *wrong)
    assert status != 0
    before = text.partition("Traceback")[0]
    assert before.count("error: ") == 1 and "there is no such file" in before, text[-4000:]
    assert "there is no such file" in root_cause(text) and "exitcode  : 2" in root_cause(text)


def test_a_process_that_waits_in_c_for_a_dead_neighbour_ends_too(tmp_path: Path) -> None:
    ranks = start_ranks(
        Path(__file__).with_name("blocked_run.py"), [], num_processes=2, log_folder=tmp_path / "logs"
    )
    assert ranks.wait(60) == [1, -9], ranks.text()
    assert "process 0 ends, since process 1 (pid " in ranks.outputs[0].read_text()


def test_a_process_that_has_ended_is_not_alive_before_its_parent_looks() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(child.pid) and is_alive(os.getpid())
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while is_alive(child.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(child.pid), "it waits for its parent, and counts as dead"
    child.communicate()
    assert not is_alive(child.pid)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RuntimeError("[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4242"),
            True,
        ),
        (DistBackendError("NCCL error: remote process exited or there was a network error"), True),
        (RuntimeError("Connection closed by peer"), False),
        (ValueError("gloo is a word"), False),
    ],
)
def test_an_error_of_an_exchange_is_told_from_others(error: Exception, expected: bool) -> None:
    assert is_of_lost_neighbour(error) is expected
