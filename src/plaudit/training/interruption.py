"""SIGTERM and SIGUSR1 end a run after the step that it is in, with a checkpoint and exit status 143.

Schedulers send SIGTERM before they take a machine away; SLURM sends SIGUSR1 so many seconds earlier with
``--signal=USR1@300``. It is enough that one process gets it: all of them save and end together. The same command then
goes on from the checkpoint.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

__all__ = ["EXIT_PREEMPTED", "SIGNALS", "Interruption", "Preempted"]

EXIT_PREEMPTED = 143
"""128 + SIGTERM, which a program that knows nothing of signals has too: rules that requeue preempted jobs hold for it
(Kubeflow's ExitCode policy starts again from 128 upwards, and takes smaller numbers for mistakes that last)."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))

log = logging.getLogger(__name__)


class Preempted(SystemExit):
    """The run was told to stop, and has saved a checkpoint; uncaught it ends the process with `EXIT_PREEMPTED`."""

    def __init__(self, step: int) -> None:
        super().__init__(EXIT_PREEMPTED)
        self.step = step
        """The step of the checkpoint."""


class Interruption(TrainerCallback):
    """Takes the signals while training runs, saves where they were heard, and raises `Preempted`.

    Signals that something else handles already are left to it, and all of them where nothing is saved
    (``save_strategy`` no).
    """

    def __init__(self) -> None:
        self._heard: int | None = None
        self._before: dict[int, Any] = {}
        self.is_agreed = False
        """Whether any process was told to stop; the same on all of them."""

    @property
    def is_requested(self) -> bool:
        """Whether this process was told to stop."""
        return self._heard is not None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Listen."""
        self._heard, self.is_agreed = None, False
        in_main_thread = threading.current_thread() is threading.main_thread()
        if not in_main_thread or args.save_strategy == SaveStrategy.NO:
            return
        for number in SIGNALS:
            if signal.getsignal(number) == signal.SIG_DFL:
                self._before[number] = signal.signal(number, self._hear)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save at the end of this step, where any process was told to stop; there may be no time to evaluate."""
        if not self.is_agreed:
            return
        if state.is_world_process_zero:
            name = (
                f"got {signal.Signals(self._heard).name}"
                if self._heard
                else "another process was told to stop"
            )
            left_out = "; the evaluation due at it is left out" if control.should_evaluate else ""
            log.warning("%s: the run saves step %d and ends%s", name, state.global_step, left_out)
        control.should_evaluate = False
        control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The checkpoint is whole.

        Raises:
            Preempted: When it was the last one.
        """
        if not self.is_agreed:
            return
        if state.is_world_process_zero:
            log.warning(
                "checkpoint-%d is saved; the same command goes on from it (exit status %d)",
                state.global_step,
                EXIT_PREEMPTED,
            )
        raise Preempted(state.global_step)

    def stop_listening(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        # Launchers send a signal again when they got it themselves: a second one changes nothing.
        self._heard = number
