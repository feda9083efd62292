"""Run by the test in one and in two processes: train on N pairs without moving the weights, log what was seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import Dataset

from plaudit import RewardConfig, RewardTrainer
from stand_ins.folders import PAIRS


def main(model: str, num_pairs: int, per_device: int, output: str) -> None:
    dataset = Dataset.from_list(PAIRS[:num_pairs])
    args = RewardConfig(
        output_dir=str(Path(output).parent / "run"),
        per_device_train_batch_size=per_device,
        num_train_epochs=1,
        learning_rate=0.0,
        logging_strategy="no",  # so that the meter holds the whole epoch at its end
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        eval_strategy="epoch",
        gradient_checkpointing=False,
        disable_tqdm=True,
        num_sample_rows=0,
    )
    trainer = RewardTrainer(model=model, args=args, train_dataset=dataset, eval_dataset=dataset)
    trainer.train()
    training = trainer.meter.drain(trainer.accelerator) | {"episode": trainer.counts.num_episodes}
    predictions = trainer.predict(dataset)
    evaluation = next(line for line in trainer.state.log_history if "eval_rm/accuracy" in line)
    if trainer.is_world_process_zero():
        result = {
            "train": training,
            "eval": evaluation,
            "predict": [predictions.predictions.tolist(), predictions.metrics],
            "steps": trainer.state.global_step,
        }
        Path(output).write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
