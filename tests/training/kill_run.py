"""Run by the tests: train with an engine, continuing from the last whole checkpoint; kill yourself where told.

Moments to kill at: ``step:7`` (after that step), ``file:12`` (before the twelfth file or folder is made, renamed or
removed in the run's folder), ``change:os.rename|checkpoint-4|1`` (so many changes after the one that is named by its
event and the end of its path; 0 is before it), ``save:0.004`` (so many seconds into the writing of a checkpoint),
``sigterm:5`` (not a kill: the signal of a scheduler, in that step).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback

from plaudit import RewardConfig, RewardTrainer
from plaudit.training.checkpoints import last_whole_checkpoint
from stand_ins.folders import PAIRS
from stand_ins.forked import without_curves

GROUPS_PER_STEP = 8


def die() -> None:
    """End as by the kernel's out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


class AtStep(TrainerCallback):
    """Sends this process a signal in the middle of a step or after it."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.number == signal.SIGTERM and state.global_step + 1 == self.step:
            os.kill(os.getpid(), self.number)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.number == signal.SIGKILL and state.global_step == self.step:
            die()


class Slow(TrainerCallback):
    """Makes steps last, so that moments by the clock fall into different ones."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        time.sleep(self.seconds)


CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def kill_at_change(event: str, ending: str, num_after: int) -> None:
    """Die so many changes after the first one of an event at a path that ends so; the interpreter tells of each."""
    num_left: int | None = None

    def hook(name: str, args: tuple[Any, ...]) -> None:
        nonlocal num_left
        if name not in CHANGES:
            return
        if num_left is not None:
            num_left -= 1
        elif name == event and str(args[0]).endswith(ending):
            num_left = num_after
        if num_left == 0:
            die()

    sys.addaudithook(hook)


def kill_at_file(number: int, folder: str) -> None:
    """Die before the n-th change in a folder, or in one of its name beside it; the interpreter tells of each."""
    name = Path(folder).name
    seen = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if not args:
            return
        writes = event == "open" and isinstance(args[1], str) and args[1][:1] in "wax"
        if (writes or event in CHANGES) and name in str(args[0]):
            seen += 1
            if seen == number:
                die()

    sys.addaudithook(hook)


def kill_in_save(seconds: float) -> None:
    """Die so long after the first checkpoint is begun."""
    has_begun = False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal has_begun
        if event == "os.mkdir" and "_saving" in str(args[0]) and not has_begun:
            has_begun = True
            timer = threading.Timer(seconds, die)
            timer.daemon = True
            timer.start()

    sys.addaudithook(hook)


def settings_of(engine: str) -> dict[str, Any]:
    """What an engine adds to the configuration."""
    if engine == "lora":
        return {"use_peft": True, "lora_dropout": 0.1, "lora_target_modules": ["q_proj", "v_proj"]}
    return {"parallel": engine} if engine in ("fsdp2", "zero1", "zero2", "zero3") else {}


def main(model: str, output: str, engine: str, moment: str, rank: str, max_steps: str) -> None:
    """Train; ``moment`` is for the process ``rank`` and empty for none."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    without_curves()
    args = RewardConfig(
        output_dir=output,
        per_device_train_batch_size=GROUPS_PER_STEP // world,
        num_train_epochs=2,
        max_steps=int(max_steps),
        learning_rate=2e-3,
        lr_scheduler_type="cosine",
        logging_steps=3,
        save_steps=2,
        save_total_limit=2,
        bf16=False,
        use_cpu=True,
        report_to=[],
        max_tokens_per_pass=None if engine in ("fsdp2", "zero2", "zero3") else 150,
        gradient_checkpointing=False,
        disable_tqdm=True,
        **settings_of(engine),
    )
    kind, _, when = moment.partition(":")
    mine = int(os.environ.get("RANK", "0")) == int(rank)
    callbacks: list[TrainerCallback] = [Slow(float(os.environ.get("STEP_SECONDS", "0")))]
    if mine and kind in ("step", "sigterm"):
        callbacks.append(AtStep(int(when), signal.SIGKILL if kind == "step" else signal.SIGTERM))
    trainer = RewardTrainer(
        model=model, args=args, train_dataset=Dataset.from_list(PAIRS[:61]), callbacks=callbacks
    )
    checkpoint = last_whole_checkpoint(Path(output))
    print(f"from {checkpoint and checkpoint.name}", flush=True)
    if mine and kind == "file":
        kill_at_file(int(when), output)
    if mine and kind == "change":
        event, ending, num_after = when.split("|")
        kill_at_change(event, ending, int(num_after))
    if mine and kind == "save":
        kill_in_save(float(when))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.is_world_process_zero():
        counts = {"episodes": trainer.counts.num_episodes, "tokens": trainer.counts._num_tokens.tolist()}
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:7])
