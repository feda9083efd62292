"""Run by the test: two short trainings with every tracker open, on one evaluation set and on two."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import Dataset
from transformers import TrainerCallback

from plaudit import RewardConfig, RewardTrainer
from plaudit.training.trackers import log_sample_table
from stand_ins.folders import PAIRS

TRACKERS = ["tensorboard", "wandb", "trackio"]

ROWS = [
    {"prompt": "What is 2 * 3?", "chosen": "6", "reward_chosen": 1.25, "verdict": "yes"},
    {
        "prompt": "a|b *c* _d_ `e` <b>f</b> & [g](h) # i",
        "chosen": "first line\nsecond line \\| 1. end!",
        "reward_chosen": -0.5,
        "verdict": "no",
    },
]
"""A table that the test knows by heart; its name in the trackers is ``test/samples``."""


class LogRows(TrainerCallback):
    def __init__(self) -> None:
        self.trainer: RewardTrainer | None = None

    def on_evaluate(self, args, state, control, **kwargs):
        assert self.trainer is not None
        log_sample_table(
            ROWS,
            step=state.global_step,
            report_to=args.report_to,
            callbacks=self.trainer.callback_handler.callbacks,
            metric_key_prefix="test",
        )


def train(model: str, folder: Path, name: str, eval_dataset: object) -> None:
    args = RewardConfig(
        output_dir=str(folder / name),
        run_name=name,
        project="rewards",
        report_to=TRACKERS,
        per_device_train_batch_size=4,
        max_steps=4,
        logging_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="no",
        num_sample_rows=3,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    rows = LogRows()
    rows.trainer = trainer = RewardTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(PAIRS[:40]),
        eval_dataset=eval_dataset,
        callbacks=[rows],
    )
    trainer.train()
    trainer.evaluate()  # when training has ended, and with it trackio's run
    (folder / f"{name}.json").write_text(json.dumps(trainer.state.log_history))


def main(model: str, folder: Path) -> None:
    import wandb

    train(model, folder, "one", Dataset.from_list(PAIRS[48:]))
    wandb.finish()
    several = {"helpful": Dataset.from_list(PAIRS[40:48]), "safe": Dataset.from_list(PAIRS[48:])}
    train(model, folder, "several", several)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
