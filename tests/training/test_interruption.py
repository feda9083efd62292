"""A run that a scheduler stops saves where it is, ends with the stated status, and goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import Dataset

from plaudit import RewardConfig, RewardTrainer
from plaudit.training.interruption import EXIT_PREEMPTED, Interruption, Preempted
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.kills import final_weights, log_lines, run_once, run_with_kills
from stand_ins.processes import script_environment

ENGINES = {"single": 1, "ddp": 2, "fsdp2": 2, "lora": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "base")


@pytest.mark.parametrize("engine", ENGINES)
def test_sigterm_to_one_process_saves_the_step_ends_all_and_the_command_goes_on(
    model: Path, tmp_path: Path, engine: str
) -> None:
    num, output, whole = ENGINES[engine], tmp_path / "run", tmp_path / "whole"
    stopped = run_once(model, output, engine=engine, num_processes=num, moment="sigterm:5", rank=num - 1)
    assert stopped.wait() == [EXIT_PREEMPTED] * num, stopped.text()[-3000:]
    assert (output / "checkpoint-5").is_dir() and not (output / "checkpoint-6").exists()
    assert not (output / "config.json").exists(), "there is no final model yet"
    assert "checkpoint-5 is saved" in stopped.text()
    assert run_with_kills([], model, output, engine=engine, num_processes=num) == ["from checkpoint-5"]
    assert set(run_once(model, whole, engine=engine, num_processes=num).wait()) == {0}
    ours, theirs = final_weights(output), final_weights(whole)
    assert all(ours[name].equal(theirs[name]) for name in theirs) and ours.keys() == theirs.keys()
    assert log_lines(output) == log_lines(whole)


@pytest.mark.parametrize(
    ("number", "num_workers"),
    [(signal.SIGUSR1, 0), (signal.SIGTERM, 1)],
    ids=["SLURM's SIGUSR1", "SIGTERM to the group, with a process that loads data"],
)
def test_a_signal_to_the_command_ends_it_with_the_same_status(
    model: Path, tmp_path: Path, number: signal.Signals, num_workers: int
) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    words = [
        "train",
        "--model",
        model,
        "--data",
        data,
        "--output-dir",
        tmp_path / "rm",
        "--use-cpu",
        "--bf16",
        "false",
    ]
    words += ["--num-train-epochs", 1000, "--save-steps", 10, "--gradient-checkpointing", "false"]
    words += ["--dataloader-num-workers", num_workers]
    process = subprocess.Popen(
        [sys.executable, "-m", "plaudit.cli", *map(str, words)],
        env=script_environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not (tmp_path / "rm" / "checkpoint-10").exists():
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == EXIT_PREEMPTED, said[-3000:]
    last = max((tmp_path / "rm").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    assert f"{last.name} is saved; the same command goes on from it" in " ".join(said.split())
    assert "Traceback" not in said


def in_process(model: Path, folder: Path, **settings: object) -> RewardTrainer:
    given = {"max_steps": 3, "save_steps": 1} | settings
    args = RewardConfig(
        str(folder),
        per_device_train_batch_size=4,
        bf16=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **given,
    )  # type: ignore[arg-type]
    return RewardTrainer(str(model), args, train_dataset=Dataset.from_list(PAIRS[:12]))


class Send(Interruption):
    """Not a listener: sends this process the signal at the first step's beginning."""

    def on_train_begin(self, *_: object, **__: object) -> None: ...
    def on_save(self, *_: object, **__: object) -> None: ...
    def on_step_end(self, *_: object, **__: object) -> None: ...
    def on_step_begin(self, *_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_in_a_script_of_ones_own_it_is_an_exit_that_can_be_caught(model: Path, tmp_path: Path) -> None:
    trainer = in_process(model, tmp_path)
    trainer.add_callback(Send())
    with pytest.raises(Preempted) as stop:
        trainer.train()
    assert stop.value.code == EXIT_PREEMPTED and stop.value.step == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "the signal is given back"


def test_a_handler_that_is_there_already_keeps_its_signal(model: Path, tmp_path: Path) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("mine"))
    try:
        trainer = in_process(model, tmp_path)
        trainer.add_callback(Send())
        assert trainer.train().global_step == 3
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == ["mine"] * 3


def test_where_nothing_is_saved_the_signals_are_not_taken(model: Path, tmp_path: Path) -> None:
    class Look(Send):
        def on_step_begin(self, *_: object, **__: object) -> None:
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    trainer = in_process(model, tmp_path, save_strategy="no", save_steps=500)
    trainer.add_callback(Look())
    trainer.train()
