"""A loss or gradient that is NaN or infinite ends the run before it reaches the weights of a checkpoint.

The loss of a step is looked at before the optimiser moves anything, on all processes together. A gradient's norm is
known only when the update is on its way, so it is looked at with the next step's loss, and before any checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from plaudit.errors import PlauditError
from plaudit.preferences import Preferences
from plaudit.processes import num_processes
from plaudit.tokens import TokenGroup
from plaudit.training.agreement import StepQuestions
from plaudit.training.batch import PreferencePass
from plaudit.training.interruption import Interruption

__all__ = ["FiniteGuard", "group_namer"]

MAX_NAMED = 16
"""Groups that an error names."""

ADVICE = (
    "Look at these groups; or lower --learning-rate, lengthen --warmup-steps, or set --bf16 in place of --fp16. The "
    "checkpoints written before are good: --resume takes one of them."
)


class FiniteGuard(TrainerCallback):
    """Watches losses and gradients; asks the processes in each step, for `Interruption` too.

    Args:
        interruption: Says whether this process was told to stop, and is told whether one was.
        name_group: A group of the training data in words.
    """

    def __init__(self, interruption: Interruption, name_group: Callable[[TokenGroup], str]) -> None:
        self._interruption = interruption
        self._name_group = name_group
        self._questions = StepQuestions()
        self._losses: list[tuple[tuple[TokenGroup, ...], Tensor]] = []
        self._gradient_norm: Tensor | None = None
        """Of the last step that was made, or is being made."""
        self._asked_norm: Tensor | None = None
        """Of the step before, in this step's questions."""

    def begin_step(self) -> None:
        """What comes now is of the next optimiser step."""
        self._questions = StepQuestions()
        self._losses = []

    def see_loss(self, part: PreferencePass, loss: Float[Tensor, ""], ends_step: bool) -> None:
        """Note the loss of a pass; with the step's last one all processes are asked. Waits for nothing."""
        self._losses.append((part.groups, loss))
        if not ends_step or self._questions.is_asked:
            return
        numbers = [value for _, value in self._losses]
        self._asked_norm = self._gradient_norm
        if self._asked_norm is not None:
            numbers.append(self._asked_norm.to(loss))
        is_not_finite = ~torch.isfinite(torch.stack(numbers)).all()
        self._questions.ask(is_not_finite, stops=self._interruption.is_requested)

    def see_gradient(self, norm: Tensor | float | None) -> None:
        """Note the norm of the step's whole gradient, which is the same on every process."""
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        self._gradient_norm = None if norm is None else torch.as_tensor(norm).detach().float()

    def require_finite(self, step: int) -> None:
        """Before a checkpoint is written: check the gradient that the weights were last moved by.

        Raises:
            PlauditError: It was not finite.
        """
        norm, self._gradient_norm = self._gradient_norm, None
        if norm is not None and not math.isfinite(norm.item()):
            raise _gradient_error(norm.item(), step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """`require_finite_losses`, before the weights move."""
        self.require_finite_losses(args.process_index, state.global_step)

    def require_finite_losses(self, process: int, steps_made: int) -> None:
        """Read what all processes said of this step; once read, nothing is left to say.

        Raises:
            PlauditError: A loss is not finite; every process raises it.
        """
        answers = self._questions.answer()
        self._interruption.is_agreed |= answers.stops
        if not answers.is_not_finite:
            return
        norm = None if self._asked_norm is None else self._asked_norm.item()
        if norm is not None and not math.isfinite(norm):  # then the loss is not to blame
            raise _gradient_error(norm, steps_made)
        bad = [(groups, value.item()) for groups, value in self._losses if not math.isfinite(value.item())]
        here = [(process, value, self._named(groups)) for groups, value in bad]
        raise _loss_error(gather_object(here) if num_processes() > 1 else here, steps_made + 1)

    def _named(self, groups: Sequence[TokenGroup]) -> str:
        names = [self._name_group(group) for group in groups[:MAX_NAMED]]
        more = len(groups) - len(names)
        return ", ".join(names) + (f" and {more} more" if more else "")


def group_namer(preferences: Preferences | None) -> Callable[[TokenGroup], str]:
    """How a group of the training data is called: its row, and the place that it was read from where that is known."""

    def name(group: TokenGroup) -> str:
        if group.row < 0:
            return "a group without a row"
        source = "" if preferences is None or preferences.is_streaming else preferences[group.row].source
        return f"group {group.row}" + (f" ({source})" if source else "")

    return name


def _loss_error(bad: Sequence[tuple[int, float, str]], step: int) -> PlauditError:
    """The error that all processes raise.

    Args:
        bad: Process, loss and groups of each pass whose loss is not finite, of all processes.
        step: The optimiser step that is not made, counted from 1.
    """
    passes = "; ".join(
        f"loss {value:g} in the pass over {named}" + (f" (process {process})" if num_processes() > 1 else "")
        for process, value, named in bad
    )
    return PlauditError(
        f"the loss is not finite, so the step is not made: {passes}", where=f"step {step}", fix=ADVICE
    )


def _gradient_error(norm: float, step: int) -> PlauditError:
    return PlauditError(
        f"the norm of the gradient was {norm:g}, so the weights are lost; no checkpoint is written",
        where=f"step {step}",
        fix=ADVICE.replace("Look at these groups; or lower", "Lower"),
    )
