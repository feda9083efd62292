"""Timing of several sides that take turns, unit of work by unit of work, in one process.

A machine that slows down for a while slows all sides alike; so ratios are steadier than times.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Timings", "alternate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Seconds of every side by round and unit of work."""

    seconds: dict[str, list[list[float]]]
    """[side][round][unit]."""

    @property
    def num_rounds(self) -> int:
        """Rounds done."""
        return len(next(iter(self.seconds.values())))

    def median_s(self, side: str) -> float:
        """Median over all units and rounds."""
        return statistics.median(value for units in self.seconds[side] for value in units)

    def total_s(self, side: str) -> float:
        """Sum over all units and rounds."""
        return sum(map(sum, self.seconds[side]))

    def ratio(self, side: str, rival: str) -> float:
        """How many times faster a side is than its rival, by total time."""
        return self.total_s(rival) / self.total_s(side)

    def ratio_spread(self, side: str, rival: str) -> float:
        """Largest less smallest ratio of a round, relative to the ratio."""
        ratios = [
            sum(theirs) / sum(ours)
            for ours, theirs in zip(self.seconds[side], self.seconds[rival], strict=True)
        ]
        return (max(ratios) - min(ratios)) / self.ratio(side, rival)


def alternate(
    sides: Mapping[str, Callable[[int], object]],
    *,
    num_units: int,
    num_rounds: int,
    max_rounds: int | None = None,
    steady: float = 0.1,
    num_warm_up: int = 1,
    on_step: Callable[[str], None] | None = None,
    synchronize: Callable[[], None] | None = None,
) -> Timings:
    """Run every side on unit 0, then on unit 1, and so on, for several rounds.

    The order of the sides moves on by one with every unit. Each side runs the first units once before, untimed.

    Args:
        sides: By name, what does a unit of work given its index. The first is the one others are compared with.
        num_units: Units of work in a round.
        num_rounds: Rounds to do.
        max_rounds: Go on up to so many rounds while some ratio to the first side spreads more than ``steady``.
        steady: See `Timings.ratio_spread`.
        num_warm_up: Units that each side runs untimed first.
        on_step: Called with a side's name before it runs, outside the time.
        synchronize: Waits for the device.
    """
    names = list(sides)
    for name in names:
        for unit in range(min(num_warm_up, num_units)):
            if on_step is not None:
                on_step(name)
            sides[name](unit)
    timings = Timings(seconds={name: [] for name in names})
    while not _is_done(timings, names, num_rounds, max_rounds or num_rounds, steady):
        for name in names:
            timings.seconds[name].append([])
        for unit in range(num_units):
            turn = unit % len(names)
            for name in names[turn:] + names[:turn]:
                if on_step is not None:
                    on_step(name)
                timings.seconds[name][-1].append(_time(sides[name], unit, synchronize))
    return timings


def _is_done(timings: Timings, names: list[str], num_rounds: int, max_rounds: int, steady: float) -> bool:
    done = timings.num_rounds
    if done < num_rounds:
        return False
    return done >= max_rounds or all(timings.ratio_spread(name, names[0]) <= steady for name in names[1:])


def _time(work: Callable[[int], object], unit: int, synchronize: Callable[[], None] | None) -> float:
    gc.collect()
    if synchronize is not None:
        synchronize()
    start = time.perf_counter()
    work(unit)
    if synchronize is not None:
        synchronize()
    return time.perf_counter() - start
