"""Run by the test in 1, 2 and 4 processes: train 20 steps under one engine after another, and write down what was seen.

The jobs share a start of the interpreter, which takes longer than they do. Between two of them the environment is put
back, as it is at the start of a process.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from plaudit import RewardConfig, RewardTrainer
from plaudit.model.head import head_of
from stand_ins.folders import PAIRS

GROUPS_PER_BATCH = 4
NUM_STEPS = 20


class AtStart(TrainerCallback):
    """Notes, once the engine has the model, how it is held and which head it starts from; and gradients that wait."""

    trainer: RewardTrainer
    num_whole_gradients = 0

    def on_substep_end(self, args, state, control, **kwargs):
        for module in self.trainer._reward_model().modules():
            units = module._get_fsdp_state()._fsdp_param_groups if isinstance(module, FSDPModule) else ()
            waiting = [p.unsharded_accumulated_grad for unit in units for p in unit.fsdp_params]
            self.num_whole_gradients += sum(grad is not None for grad in waiting)

    def on_train_begin(self, args, state, control, **kwargs):
        trainer = self.trainer
        self.head = whole(head_of(trainer._reward_model()).weight)
        self.held = held(trainer)
        self.engine = type(trainer.model_wrapped).__name__


def whole(weight: torch.Tensor) -> list[float]:
    """All of a weight, whatever holds it."""
    if hasattr(weight, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([weight]):
            return weight.detach().float().flatten().tolist()
    full = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return full.detach().float().flatten().tolist()


def held(trainer: RewardTrainer) -> dict[str, Any]:
    """Elements that this process holds, of weights and of DeepSpeed's master weights, and the type of the weights."""
    parameters = list(trainer._reward_model().parameters())
    parts = [
        p.ds_tensor if hasattr(p, "ds_tensor") else p.to_local() if isinstance(p, DTensor) else p
        for p in parameters
    ]
    optimizer = trainer.optimizer.optimizer
    masters = getattr(optimizer, "single_partition_of_fp32_groups", None) or getattr(
        optimizer, "fp32_partitioned_groups_flat", []
    )
    return {
        "num_held": sum(part.numel() for part in parts),
        "num_total": sum(getattr(p, "ds_numel", p.numel()) for p in parameters),
        "num_trained": sum(getattr(p, "ds_numel", p.numel()) for p in parameters if p.requires_grad),
        "num_masters": sum(part.numel() for part in masters),
        "all_are_dtensors": all(isinstance(p, DTensor) for p in parameters),
    }


def run(job: dict[str, Any], num_processes: int) -> None:
    """One training, from the beginning or from a checkpoint."""
    args = RewardConfig(
        output_dir=job["output"],
        parallel=job["parallel"],
        use_peft=job["use_peft"],
        lora_dropout=0.0,
        per_device_train_batch_size=GROUPS_PER_BATCH // num_processes,
        gradient_accumulation_steps=2,
        max_tokens_per_pass=60,
        max_steps=NUM_STEPS,
        learning_rate=1e-3,
        weight_decay=0.1,
        logging_steps=1,
        save_steps=NUM_STEPS // 2,
        eval_strategy="steps",
        eval_steps=NUM_STEPS // 2,
        gradient_checkpointing=job["use_peft"],
        bf16=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        num_sample_rows=0,
    )
    start = AtStart()
    trainer = RewardTrainer(
        job["model"],
        args,
        train_dataset=Dataset.from_list(PAIRS[:48]),
        eval_dataset=Dataset.from_list(PAIRS[48:61]),
        callbacks=[start],
    )
    start.trainer = trainer
    trainer.train(resume_from_checkpoint=job.get("checkpoint"))
    rewards = trainer.predict(Dataset.from_list(PAIRS[48:61])).predictions
    seen = {
        "history": trainer.state.log_history,
        "head": start.head,
        "engine": start.engine,
        "num_whole_gradients": start.num_whole_gradients,
        "rewards": rewards.tolist(),
        **start.held,
    }
    Path(f"{job['output']}.{trainer.args.process_index}.json").write_text(json.dumps(seen))
    trainer.save_model()
    trainer.save_model(f"{job['output']}-again")


def main(jobs: str) -> None:
    """Run the jobs of a file, one after another."""
    environment = dict(os.environ)
    for job in json.loads(Path(jobs).read_text()):
        run(job, int(os.environ.get("WORLD_SIZE", "1")))
        os.environ.clear()
        os.environ.update(environment)


if __name__ == "__main__":
    main(sys.argv[1])
