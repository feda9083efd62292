"""metrics.jsonl holds what Trainer logged, once, whatever happened to the run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import TrainerControl, TrainerState, TrainingArguments

from plaudit import RewardConfig, RewardTrainer
from plaudit.errors import PlauditError
from plaudit.training.metrics_log import MetricsLog, read_metrics
from stand_ins.folders import PAIRS, write_reward_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "reward")


def trainer_for(folder: Path, run: Path, max_steps: int) -> RewardTrainer:
    args = RewardConfig(
        str(run),
        per_device_train_batch_size=8,
        max_steps=max_steps,
        bf16=False,
        use_cpu=True,
        report_to=[],
        logging_steps=1,
        save_strategy="steps",
        save_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        num_sample_rows=0,
        disable_tqdm=True,
    )
    dataset = Dataset.from_list(PAIRS)
    # A trainer that writes the file by itself needs no second writer.
    trainer = RewardTrainer(str(folder), args, train_dataset=dataset, eval_dataset=dataset)
    if not any(isinstance(callback, MetricsLog) for callback in trainer.callback_handler.callbacks):
        trainer.add_callback(MetricsLog())
    return trainer


def begin(log: MetricsLog, run: Path, *, is_main: bool = True) -> tuple[TrainingArguments, TrainerState]:
    args, state = TrainingArguments(str(run), use_cpu=True), TrainerState()
    state.is_world_process_zero = is_main
    log.on_train_begin(args, state, TrainerControl())
    return args, state


def without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # transformers' PrinterCallback takes total_flos out of the line that all callbacks are given.
    left_out = ("unix_time_s", "total_flos")
    return [{name: value for name, value in line.items() if name not in left_out} for line in lines]


def test_the_file_holds_trainers_history_with_the_time(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_for(folder, tmp_path / "run", 4)
    trainer.train()
    lines = read_metrics(tmp_path / "run")
    assert without_time(lines) == without_time(trainer.state.log_history)
    times = [line["unix_time_s"] for line in lines]
    assert times == sorted(times) and times[0] > 1.7e9
    assert {"step", "epoch", "rm/accuracy", "rm/lr"} <= lines[0].keys()


@pytest.mark.parametrize("killed_at", ["after the checkpoint", "at the end"])
def test_a_resumed_run_has_every_line_once(folder: Path, tmp_path: Path, killed_at: str) -> None:
    run = tmp_path / "run"
    trainer_for(folder, run, 4).train()
    first = read_metrics(run)
    checkpoint = run / ("checkpoint-2" if killed_at == "after the checkpoint" else "checkpoint-4")
    resumed = trainer_for(folder, run, 6)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    lines = read_metrics(run)
    assert without_time(lines) == without_time(resumed.state.log_history)
    # Steps 1 to 6, evaluations at 2, 4 and 6, and the summary.
    assert [line["step"] for line in lines] == [1, 2, 2, 3, 4, 4, 5, 6, 6, 6]
    assert lines[0] == first[0], "what the checkpoint had seen keeps its time"


def test_without_a_file_the_checkpoints_history_is_written(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer_for(folder, run, 4).train()
    (run / "metrics.jsonl").unlink()
    resumed = trainer_for(folder, run, 6)
    resumed.train(resume_from_checkpoint=str(run / "checkpoint-4"))
    lines = read_metrics(run)
    assert without_time(lines) == without_time(resumed.state.log_history)
    assert math.isnan(lines[0]["unix_time_s"])


def test_numbers_that_json_does_not_know_are_null(tmp_path: Path) -> None:
    log = MetricsLog()
    args, state = begin(log, tmp_path)
    log.on_log(args, state, TrainerControl(), {"loss": math.nan, "grad_norm": math.inf, "rm/lr": 0.5})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert line["loss"] is None and line["grad_norm"] is None and line["rm/lr"] == 0.5
    read = read_metrics(tmp_path)[0]
    assert math.isnan(read["loss"]) and read["rm/lr"] == 0.5


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    log = MetricsLog()
    args, state = begin(log, tmp_path, is_main=False)
    log.on_log(args, state, TrainerControl(), {"loss": 0.5})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_an_evaluation_before_training_is_the_first_line(tmp_path: Path) -> None:
    log = MetricsLog()
    args, state = TrainingArguments(str(tmp_path), use_cpu=True), TrainerState()
    log.on_log(args, state, TrainerControl(), {"eval_loss": 0.7})
    assert not (tmp_path / "metrics.jsonl").exists(), "no training, no file"
    log.on_train_begin(args, state, TrainerControl())
    state.global_step = 1
    log.on_log(args, state, TrainerControl(), {"loss": 0.6})
    assert [(line["step"], line.get("eval_loss")) for line in read_metrics(tmp_path)] == [(0, 0.7), (1, None)]


def test_a_new_run_in_an_old_folder_starts_the_file_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 500, "loss": 0.1}\n')
    begin(MetricsLog(), tmp_path)
    assert read_metrics(tmp_path) == []


def test_a_line_that_broke_off_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}]
    assert "metrics.jsonl:2" in caplog.text


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n[]\n{"step": 3}\n')
    with pytest.raises(PlauditError, match=r"metrics\.jsonl:2.*not an object"):
        read_metrics(tmp_path)
    with pytest.raises(PlauditError, match="cannot be read"):
        read_metrics(tmp_path / "elsewhere")
