"""Several processes of one run: how many there are, and what one of them does or decides for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from accelerate.utils import broadcast_object_list
from torch import distributed

from plaudit.errors import PlauditError

__all__ = ["first_decides", "num_processes", "one_process_first"]

T = TypeVar("T")

LOOK_S = 0.2
"""Between two looks whether another process is done (assumed: no one waits for that)."""

_turns: dict[int, int] = {}
"""How often each group has waited: every process counts alike."""


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
