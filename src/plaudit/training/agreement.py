"""What all processes of a run decide together, so that none of them waits for another in vain.

Each optimiser step asks two yes-or-no questions of all processes at once: is a loss not finite, has a process been told
to stop. They travel beside the last forward pass of the step and are read before its update, so that the device has the
backward pass to work on while the host waits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, distributed

from plaudit.processes import num_processes

__all__ = ["Answers", "StepQuestions"]


class Answers(NamedTuple):
    """What holds on at least one process."""

    is_not_finite: bool
    """A loss of this step, or a gradient of the step before, is NaN or infinite."""
    stops: bool
    """A signal asked for the run to stop."""


class StepQuestions:
    """The questions of one optimiser step at a time: `ask` on every process, then `answer` on every process."""

    def __init__(self) -> None:
        self._flags: Tensor | None = None
        self._work: Any = None
        self._copied: torch.cuda.Event | None = None

    @property
    def is_asked(self) -> bool:
        """Whether this step's questions are under way."""
        return self._flags is not None

    def ask(self, is_not_finite: Bool[Tensor, ""], *, stops: bool) -> None:
        """Send this process's part; waits for nothing."""
        flags = torch.zeros(2, dtype=torch.int32, device=is_not_finite.device)
        flags[0] = is_not_finite
        flags[1] = int(stops)
        self._work = None
        if num_processes() > 1:
            self._work = distributed.all_reduce(flags, op=distributed.ReduceOp.MAX, async_op=True)
        if flags.is_cuda:
            if self._work is not None:
                self._work.wait()  # the stream waits, not the host
            flags = flags.to("cpu", non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()
        self._flags = flags

    def answer(self) -> Answers:
        """What all processes said, the same on each; waits for the slowest one's last forward pass."""
        if self._flags is None:
            return Answers(False, False)
        if self._copied is not None:
            self._copied.synchronize()
        elif self._work is not None:
            self._work.wait()
        is_not_finite, stops = self._flags.tolist()
        self._flags = self._work = self._copied = None
        return Answers(bool(is_not_finite), bool(stops))
