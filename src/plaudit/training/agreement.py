"""What all processes of a run decide together, so that none of them waits for another in vain.

Each optimiser step asks two yes-or-no questions of all processes at once: is a loss not finite, has a process been told
to stop. They travel beside the last forward pass of the step and are read before its update, so that the device has the
backward pass to work on while the host waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from accelerate.utils import broadcast_object_list
from jaxtyping import Bool
from torch import Tensor, distributed

from plaudit.errors import PlauditError

__all__ = ["Answers", "StepQuestions", "first_decides", "num_processes", "one_process_first"]

T = TypeVar("T")

LOOK_S = 0.2
"""Between two looks whether another process is done (assumed: no one waits for that)."""

_turns: dict[int, int] = {}
"""How often each group has waited: every process counts alike."""


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


def first_decides(decide: Callable[[], T]) -> T:
    """What ``decide`` returns on the first process, on every process; it runs on the first one only.

    Raises:
        PlauditError: On every process, what the first one met.
    """
    if num_processes() == 1:
        return decide()
    said: list[Any] = [None, None]
    if distributed.get_rank() == 0:
        try:
            said[0] = decide()
        except PlauditError as error:
            said[1] = error
    result, error = broadcast_object_list(said)
    if error is not None:
        raise error
    return result


@contextmanager
def one_process_first(is_first: bool, *, of: int) -> Iterator[None]:
    """Inside, one process works while the others wait for it, however long it takes.

    A barrier would end the run after its timeout (half an hour), and tokenising may take longer. So the others ask the
    store that the processes found each other by.

    Args:
        is_first: Whether this process is the one.
        of: Which group waits for it, for example the rank of a machine's first process; each has a first one.
    """
    if num_processes() == 1:
        yield
        return
    store = distributed.distributed_c10d._get_default_store()
    turn = _turns[of] = _turns.get(of, 0) + 1
    name = f"plaudit/first/{of}/{turn}"
    while not is_first and not store.check([name]):
        time.sleep(LOOK_S)
    try:
        yield
    finally:
        if is_first:
            store.set(name, "done")


def num_processes() -> int:
    """Processes of the run; 1 where none were started together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
