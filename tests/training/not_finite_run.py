"""Run by the test in two processes: train on a pair that gives NaN, and say what that raised."""

from __future__ import annotations

import sys

from plaudit import RewardConfig, RewardTrainer
from plaudit.errors import PlauditError


def main(model: str, data: str, output: str, engine: str) -> None:
    """Train; status 3 when the trainer refused."""
    args = RewardConfig(
        output,
        parallel=engine,
        per_device_train_batch_size=4,
        max_steps=4,
        train_sampling_strategy="sequential",
        save_steps=1,
        bf16=False,
        use_cpu=True,
        report_to=[],
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = RewardTrainer(model, args, train_dataset=data)
    try:
        trainer.train()
    except PlauditError as error:
        print(f"\nPlauditError: {error}", flush=True)
        sys.exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
