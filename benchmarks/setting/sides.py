"""The two sides of a training benchmark: TRL's trainer and plaudit's, each taking one optimiser step per batch.

Both run their own code: their dataset's rows, their collator, their ``training_step``, and the AdamW that
``create_optimizer`` of transformers makes for both. What Trainer's loop does before its first step is done by
`_ready`, so that steps of several trainers can take turns in one process.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
from trl import RewardConfig as TrlConfig
from trl import RewardTrainer as TrlTrainer

from plaudit.tokens import TokenGroup, TokenTable
from plaudit.training import RewardConfig, RewardTrainer
from setting.corpus import pair_rows

__all__ = ["PlauditSide", "Side", "TrlSide", "set_checkpointing"]

logging.getLogger("accelerate").setLevel(logging.ERROR)
datasets.disable_progress_bars()


class Side:
    """A trainer that takes the steps of given batches."""

    def __init__(self, trainer: Trainer, edges: Sequence[int]) -> None:
        """
        Args:
            trainer: The trainer; its data set has the rows of all batches, one after the other.
            edges: Where each batch begins in it, and the end.
        """
        self.trainer = trainer
        self.rows = [range(first, last) for first, last in pairwise(edges)]
        self.model = _ready(trainer)

    @property
    def num_batches(self) -> int:
        """Batches it has."""
        return len(self.rows)

    def collate(self, batch: int) -> Any:
        """Rows from the trainer's data set through its collator."""
        dataset: Any = self.trainer.train_dataset
        return self.trainer.data_collator([dataset[row] for row in self.rows[batch]])

    def accumulate(self, batch: int) -> None:
        """Collation, forward and backward: leaves gradients."""
        self._training_step(self.collate(batch))

    def step(self, batch: int) -> None:
        """One optimiser step, collation included."""
        self.accumulate(batch)
        assert self.trainer.optimizer is not None
        self.trainer.optimizer.step()
        self.model.zero_grad()

    def gradients(self, batch: int) -> dict[str, Tensor]:
        """Gradient of every parameter, the weights left as they are."""
        self.accumulate(batch)
        # A copy: accelerate's optimiser may keep the tensors.
        found = {
            name: p.grad.float().clone() for name, p in self.model.named_parameters() if p.grad is not None
        }
        self.model.zero_grad()
        return found

    def rewards(self, batch: int) -> Tensor:
        """[comparison, 2]: rewards of better and worse, as the trainer's own loss sees them."""
        with torch.no_grad():
            return self._pair_rewards(self.collate(batch)).float().cpu()

    def num_tokens(self, batch: int) -> int:
        """Tokens computed in one forward pass, padding included."""
        raise NotImplementedError

    def _training_step(self, collated: Any) -> None:
        raise NotImplementedError

    def _pair_rewards(self, collated: Any) -> Tensor:
        raise NotImplementedError


class TrlSide(Side):
    """TRL's RewardTrainer: every comparison a row, padded to the longest of the batch."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batches: Sequence[Sequence[TokenGroup]],
        *,
        precision: str,
        checkpointing: bool,
        scratch: Path,
        on_cpu: bool = True,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        pairs = [pair_rows(batch) for batch in batches]
        rows = datasets.Dataset.from_dict(
            {
                "chosen_ids": [better.tolist() for batch in pairs for better, _ in batch],
                "rejected_ids": [worse.tolist() for batch in pairs for _, worse in batch],
            }
        )
        arguments = _arguments(TrlConfig, precision, checkpointing, scratch, on_cpu)
        trainer = TrlTrainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )
        assert len(trainer.train_dataset) == len(rows), "TRL left rows out"  # type: ignore[arg-type]
        super().__init__(trainer, np.cumsum([0, *map(len, pairs)]).tolist())

    def num_tokens(self, batch: int) -> int:
        return self.collate(batch)["input_ids"].numel()

    def _training_step(self, collated: Any) -> None:
        self.trainer.training_step(self.model, collated)

    def _pair_rewards(self, collated: Any) -> Tensor:
        inputs = self.trainer._prepare_inputs(collated)
        _, outputs = self.trainer.compute_loss(self.model, inputs, return_outputs=True)
        return torch.stack(outputs.logits.squeeze(-1).chunk(2), dim=1)


class PlauditSide(Side):
    """plaudit's RewardTrainer: the batch as a tree. Its metrics are drained at every step, as TRL's are computed."""

    trainer: RewardTrainer

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batches: Sequence[Sequence[TokenGroup]],
        *,
        precision: str,
        checkpointing: bool,
        scratch: Path,
        on_cpu: bool = True,
        optimizer: torch.optim.Optimizer | None = None,
        attention: str = "auto",
    ) -> None:
        arguments = _arguments(RewardConfig, precision, checkpointing, scratch, on_cpu, attention=attention)
        groups = TokenTable.from_groups(group for batch in batches for group in batch)
        trainer = RewardTrainer(
            model=model,
            args=arguments,
            train_dataset=groups,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )
        super().__init__(trainer, np.cumsum([0, *map(len, batches)]).tolist())

    def num_tokens(self, batch: int) -> int:
        return self.collate(batch).num_tokens

    def _training_step(self, collated: Any) -> None:
        weight = collated.total_weights.to(self.trainer.args.device)
        self.trainer.training_step(self.model, collated, num_items_in_batch=weight)
        self.trainer.meter.drain(self.trainer.accelerator)

    def _pair_rewards(self, collated: Any) -> Tensor:
        (part,) = collated.to(self.trainer.args.device).passes
        _, outputs = self.trainer.compute_loss(self.model, part, return_outputs=True)  # type: ignore[misc]
        self.trainer.meter.drain(self.trainer.accelerator)
        rewards = outputs["rewards"]
        return torch.stack([rewards[part.judgements.better], rewards[part.judgements.worse]], dim=1)


def set_checkpointing(model: Any, enabled: bool) -> None:
    """Turn gradient checkpointing on or off, as Trainer's loop does."""
    verb = "enable" if enabled else "disable"
    # transformers 5.23 renamed it and warns of the old name.
    new_name = getattr(model, f"activation_checkpointing_{verb}", None)
    (new_name or getattr(model, f"gradient_checkpointing_{verb}"))()


def _arguments(
    config: type, precision: str, checkpointing: bool, scratch: Path, on_cpu: bool, **others: Any
) -> Any:
    """The same settings for both trainers."""
    with warnings.catch_warnings():
        # transformers 5.23 renamed gradient_checkpointing; TRL 1.16 and older transformers know the old name.
        warnings.simplefilter("ignore", FutureWarning)
        return config(
            output_dir=str(scratch),
            bf16=precision == "bf16",
            gradient_checkpointing=checkpointing,
            use_cpu=on_cpu,
            dataloader_pin_memory=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **others,
        )


def _ready(trainer: Trainer) -> Any:
    """What Trainer's loop does before the first step: checkpointing, optimiser, accelerate's wrapping."""
    model: Any = trainer.model
    if trainer.args.gradient_checkpointing:
        set_checkpointing(model, True)
    trainer.create_optimizer()
    wrapped, optimizer = trainer.accelerator.prepare(model, trainer.optimizer)
    trainer.model_wrapped, trainer.optimizer = wrapped, optimizer
    trainer.current_gradient_accumulation_steps = 1
    wrapped.train()
    return wrapped
