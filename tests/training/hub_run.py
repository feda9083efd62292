"""Run by the test, with the stand-in for the hub: push trained models to it, or fetch one and score with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from plaudit.errors import PlauditError
from stand_ins.folders import PAIRS

TEXTS = [pair["prompt"] + pair[side] for pair in PAIRS[:4] for side in ("chosen", "rejected")]


class WaitForPush(TrainerCallback):
    """Lets the push of a save end before the next step: these steps take milliseconds, and a push reads the files
    when it gets to them."""

    def __init__(self) -> None:
        self.trainer: Any = None

    def on_step_begin(self, args, state, control, **kwargs):
        if self.trainer.push_in_progress is not None:
            self.trainer.push_in_progress.wait_until_done()


def push(model: str, folder: Path) -> None:
    """Trainings that push at the end, after every save, and to a place where they may not write."""
    for name, strategy in (("tiny-reward", "end"), ("every-save", "every_save"), ("read-only", "every_save")):
        try:
            train(model, folder, name, strategy)
        except PlauditError as error:
            print(error)


def train(model: str, folder: Path, name: str, strategy: str) -> None:
    """Three steps, each of which is saved."""
    from datasets import Dataset

    from plaudit import RewardConfig, RewardTrainer

    args = RewardConfig(
        output_dir=str(folder / name),
        push_to_hub=True,
        hub_model_id=f"someone/{name}",
        hub_strategy=strategy,
        hub_token="hf_right",
        per_device_train_batch_size=4,
        max_steps=3,
        save_steps=1,
        eval_strategy="steps",
        eval_steps=3,
        learning_rate=1e-2,
        bf16=False,
        use_cpu=True,
        report_to=[],
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    waiting = WaitForPush()
    waiting.trainer = trainer = RewardTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(PAIRS[:40]),
        eval_dataset=Dataset.from_list(PAIRS[40:48]),
        callbacks=[waiting],
    )
    trainer.train()
    pairs = trainer.predict(Dataset.from_list(PAIRS[:4])).predictions
    (folder / f"{name}.json").write_text(json.dumps(pairs.tolist()))
    trainer.save_model()


def fetch(repository: str, folder: Path) -> None:
    """Rewards of a model of the hub by three ways: the scorer, plaudit's loader, plain transformers."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from plaudit import Scorer
    from plaudit.model import load_reward_model
    from plaudit.model.inference import rewards_of_sequences

    plain = AutoModelForSequenceClassification.from_pretrained(repository).eval()
    tokenizer = AutoTokenizer.from_pretrained(repository)
    ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]
    with torch.no_grad():
        alone = [float(plain(torch.tensor([row])).logits[0, 0]) for row in ids]
    loaded = load_reward_model(repository)
    scorer = Scorer.from_pretrained(repository)
    scored = [scorer.score(pair["prompt"], [pair["chosen"], pair["rejected"]]) for pair in PAIRS[:4]]
    (folder / "fetched.json").write_text(
        json.dumps(
            {
                "plain": alone,
                "loaded": rewards_of_sequences(loaded.model, ids).rewards.tolist(),
                "scored": [reward for pair in scored for reward in pair],
                "has_fresh_head": loaded.has_fresh_head,
            }
        )
    )


if __name__ == "__main__":
    {"push": push, "fetch": fetch}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
