"""Run by the test in one and in two processes: one step of plain gradient descent, then the weights' digest."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from datasets import Dataset

from plaudit import RewardConfig, RewardTrainer
from stand_ins.folders import PAIRS


def main(model: str, num_pairs: int, per_device: int, accumulation: int, output: str) -> None:
    """Train one step on the first pairs in order, and save the weights."""
    args = RewardConfig(
        output_dir=str(Path(output).parent / "run"),
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        optim="sgd",
        learning_rate=0.5,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = RewardTrainer(model, args, train_dataset=Dataset.from_list(PAIRS[:num_pairs]))
    trainer.train()
    if trainer.is_world_process_zero():
        torch.save(trainer._reward_model().state_dict(), output)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
