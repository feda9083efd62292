"""Trainer that survives what clusters do: whole checkpoints, finite weights, no process that waits for a dead one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from plaudit.training.checkpoints import (
    STAGING,
    flush_to_disk,
    put_into_place,
    remove_leftovers,
    remove_old_checkpoints,
)
from plaudit.training.disk import disk_errors
from plaudit.training.guards import FiniteGuard
from plaudit.training.interruption import Interruption
from plaudit.training.liveness import neighbours_watched
from plaudit.training.parallel_trainer import ParallelTrainer

__all__ = ["FailSafeTrainer"]


class FailSafeTrainer(ParallelTrainer):
    """Writes a checkpoint under another name and puts it into place when all processes have written theirs."""

    guard: FiniteGuard
    interruption: Interruption
    _push_waits = False

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trainer's training.

        Raises:
            PlauditError: The disk is full, a loss is not finite, or a group does not fit into memory.
            Preempted: A signal asked for the end; a checkpoint is saved.
        """
        folder = Path(cast(str, self.args.output_dir))
        if self.args.should_save:
            remove_leftovers(folder)
        try:
            with neighbours_watched(self.accelerator), disk_errors("The run's files", folder):
                output = super().train(*args, **kwargs)
                self._after_training(output)
                return output
        finally:
            self.interruption.stop_listening()

    def _after_training(self, output: TrainOutput) -> None:
        """What is written once the last step is made."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Trainer's saving.

        Raises:
            PlauditError: The disk is full; what was there before is as it was.
        """
        if self._is_staging:  # the checkpoint as a whole is said not to fit
            super().save_model(output_dir, _internal_call)
            return
        folder = Path(output_dir or cast(str, self.args.output_dir))
        with disk_errors("The model", folder):
            super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Trainer's checkpoint, whole or not at all; older ones are removed when it is there.

        Raises:
            PlauditError: The disk is full, or the last gradient was not finite; older checkpoints are as they were.
        """
        self.guard.require_finite(self.state.global_step)
        run = Path(self._get_output_dir(trial))
        folder = run / f"checkpoint-{self.state.global_step}"
        part = run / STAGING / folder.name
        self._is_staging, self._push_waits = True, False
        try:
            with disk_errors(f"checkpoint-{self.state.global_step}", run):
                super()._save_checkpoint(model, trial)
                self._name_best_checkpoint(run, part)
                self.accelerator.wait_for_everyone()  # files of all of them are in it
                if self.args.should_save:
                    flush_to_disk(part)
        except Exception:
            shutil.rmtree(part.parent, ignore_errors=True)
            raise
        finally:
            self._is_staging = False
        self._commit(part, folder)
        if self._push_waits:
            super()._push_from_checkpoint(str(folder))

    def _commit(self, part: Path, folder: Path) -> None:
        """Give the checkpoint its name once every process has written its part, and remove old ones."""
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            put_into_place(part, folder)
            best = self.state.best_model_checkpoint
            remove_old_checkpoints(
                folder.parent,
                keep=self.args.save_total_limit,
                protected=(folder, Path(best) if best else None),
            )
        self.accelerator.wait_for_everyone()

    def _name_best_checkpoint(self, run: Path, part: Path) -> None:
        """Trainer notes where the best checkpoint is: where it was written, if it is this one."""
        if self.state.best_model_checkpoint != str(part):
            return
        self.state.best_model_checkpoint = str(run / part.name)
        if self.args.should_save:
            self.state.save_to_json(str(part / TRAINER_STATE_NAME))

    def _get_output_dir(self, trial: Any) -> str:
        run = super()._get_output_dir(trial)
        return str(Path(run) / STAGING) if self._is_staging else run

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push when the checkpoint has its name."""
        if self._is_staging:
            self._push_waits = True
        else:
            super()._push_from_checkpoint(checkpoint_folder)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Tensor | float | None = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if self.accelerator.mixed_precision != "fp16":  # whose scaler makes no step of an infinite gradient
            self.guard.see_gradient(norm)
        return norm
