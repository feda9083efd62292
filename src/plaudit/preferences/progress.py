"""Progress of a reading that takes more than a moment: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from plaudit.preferences.sources.item import Position

__all__ = ["track"]

T = TypeVar("T")

_FIRST_AFTER_S = 2.0
_LINE_EVERY_S = 15.0
_CHECK_EVERY = 256
"""Records between looks at the clock (assumed)."""


def track(
    items: Iterable[T], what: str, *, position: Position, num_bytes: int, enabled: bool
) -> Generator[T, None, None]:
    """The items, unchanged; progress goes to standard error once two seconds have passed."""
    if not enabled:
        yield from items
        return
    display = _Display(what, num_bytes)
    try:
        for number, item in enumerate(items, start=1):
            yield item
            if number % _CHECK_EVERY == 0:
                display.show(number, position.num_bytes())
    finally:
        display.close()


class _Display:
    def __init__(self, what: str, num_bytes: int) -> None:
        self._what = what
        self._num_bytes = num_bytes
        self._started = self._shown = time.monotonic()
        self._bar: Progress | None = None

    def show(self, number: int, num_bytes: int) -> None:
        """Bring the display up to date, if it is time."""
        now = time.monotonic()
        seconds = now - self._started
        if seconds < _FIRST_AFTER_S:
            return
        rate = f"{number:,} records, {number / seconds:,.0f}/s"
        if sys.stderr.isatty():
            self._show_bar(rate, num_bytes)
        elif now - self._shown >= _LINE_EVERY_S:
            self._shown = now
            share = f", {num_bytes / self._num_bytes:.0%} of the bytes" if self._num_bytes else ""
            print(f"{self._what}: {rate}{share}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show_bar(self, rate: str, num_bytes: int) -> None:
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(self._what, total=self._num_bytes or None)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=num_bytes, description=f"{self._what}: {rate}")
