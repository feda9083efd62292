"""Run by the test: train, continuing from the last whole checkpoint; kill yourself after a given step."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from datasets import Dataset
from transformers import TrainerCallback

from plaudit import RewardConfig, RewardTrainer
from plaudit.training.checkpoints import last_whole_checkpoint
from stand_ins.folders import PAIRS


class KillAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(model: str, output: str, kill_after: int) -> None:
    args = RewardConfig(
        output_dir=output,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_train_epochs=2,
        learning_rate=2e-3,
        lr_scheduler_type="cosine",
        logging_steps=3,
        save_steps=2,
        bf16=False,
        use_cpu=True,
        report_to=[],
        max_tokens_per_pass=150,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = RewardTrainer(
        model=model, args=args, train_dataset=Dataset.from_list(PAIRS[:61]), callbacks=[KillAfter(kill_after)]
    )
    checkpoint = last_whole_checkpoint(Path(output))
    print(f"from {checkpoint}", flush=True)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    trainer.save_model()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
