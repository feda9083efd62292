"""A progress bar with a rate, for work on many sequences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["sequence_progress"]


@contextmanager
def sequence_progress(total: int, description: str, *, enabled: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal; yields the function that advances it.

    >>> with sequence_progress(10, "scoring", enabled=False) as advance:
    ...     advance(10)
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(
        *columns, console=console, transient=True, disable=not (enabled and console.is_terminal)
    ) as bar:
        task = bar.add_task(description, total=total, rate="")

        def advance(num: int) -> None:
            bar.advance(task, num)
            speed = bar.tasks[0].speed
            bar.update(task, rate="" if speed is None else f"{speed:,.0f} sequences/s")

        yield advance
