"""Best of n as tables for the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plaudit.evaluation.bestofn import BestOfNCurve
from plaudit.evaluation.bestofn_result import BestOfNResult
from plaudit.evaluation.overoptimisation import OverOptimisation
from plaudit.objective.intervals import Estimate

__all__ = ["overoptimisation_sentence", "print_best_of_n"]


def print_best_of_n(console: Console, result: BestOfNResult) -> None:
    """Print the curve, what it says, and the curves by difficulty."""
    console.print(_curve_table(result.curve, f"Quality of the pick: {result.model} on {result.name}"))
    console.print(Text(overoptimisation_sentence(result.over_optimisation)), soft_wrap=True)
    for line in _footnotes(result):
        console.print(Text(line), style="dim", soft_wrap=True)
    if len(result.difficulty) > 1:
        console.print(_difficulty_table(result))


def overoptimisation_sentence(found: OverOptimisation) -> str:
    """Whether more samples make the pick worse."""
    if found.num_prompts == 0:
        return f"No prompt has {found.largest_n} samples, so nothing can be said of over-optimisation."
    if found.best_n == found.largest_n:
        return f"The pick is best at the largest n, {found.largest_n}: no over-optimisation is seen."
    if found.change == 0:
        same = f"The pick is as good at the largest n, {found.largest_n}, as at n = {found.best_n}"
        return f"{same}: no over-optimisation is seen."
    plural = "" if found.num_prompts == 1 else "s"
    fall = f"from n = {found.best_n} to n = {found.largest_n} the pick changes by {found.change:+.4f}"
    if math.isnan(found.low):
        return f"{fall[0].upper()}{fall[1:]}; there is no interval from {found.num_prompts} prompt{plural}."
    interval = f"(95% over all n together: {found.low:+.4f} to {found.high:+.4f})"
    if found.is_shown:
        return f"Over-optimised: {fall} {interval}. Use n = {found.best_n} or fewer."
    return f"The curve has its peak at n = {found.best_n}, but {fall} {interval}, which chance explains."


def _curve_table(curve: BestOfNCurve, title: str) -> Table:
    has_majority = any(point.majority is not None for point in curve.points)
    table = Table(title=Text(title), title_justify="left")
    for header in ("n", "KL (nats)", "picked by reward", "95% interval"):
        table.add_column(header, justify="right")
    for header in ("random", *(("majority",) if has_majority else ()), "oracle", "prompts"):
        table.add_column(header, justify="right")
    for point in curve.points:
        majority = [_value(point.majority)] if has_majority else []
        table.add_row(
            str(point.n),
            f"{point.kl:.3f}",
            _value(point.picked),
            _ends(point.picked),
            _value(point.random),
            *majority,
            _value(point.oracle),
            f"{point.picked.n:,}",
        )
    return table


def _difficulty_table(result: BestOfNResult) -> Table:
    table = Table(title="Picked by reward (random), by the prompts' mean quality", title_justify="left")
    table.add_column("mean quality", justify="right")
    table.add_column("prompts", justify="right")
    for point in result.curve.points:
        table.add_column(f"n = {point.n}", justify="right")
    for level in result.difficulty:
        at = {point.n: point for point in level.curve.points}
        cells = [
            f"{at[p.n].picked.value:.3f} ({at[p.n].random.value:.3f})" if p.n in at else ""
            for p in result.curve.points
        ]
        table.add_row(f"{level.low:.3f} to {level.high:.3f}", f"{level.curve.num_prompts:,}", *cells)
    return table


def _footnotes(result: BestOfNResult) -> list[str]:
    num_samples = sum(len(r) for r in result.rewards)
    distinct = result.curve.num_distinct_prompts
    repeated = f" ({distinct:,} different ones)" if distinct < len(result.samples) else ""
    notes = [
        f"{len(result.samples):,} prompts{repeated}, {num_samples:,} samples; exact over all subsets of n; "
        "intervals by bootstrap over prompts; KL = log n - (n - 1) / n, an upper bound"
    ]
    if any(point.majority is not None for point in result.curve.points) and result.num_without_answer:
        notes.append(f"{result.num_without_answer:,} samples name no final answer and do not vote")
    if any(point.picked.n < len(result.samples) for point in result.curve.points):
        notes.append(
            f"the smallest prompt has {result.curve.min_samples} samples: points beyond rest on fewer prompts"
        )
    return notes


def _ends(estimate: Estimate) -> str:
    low, high = estimate.interval.low, estimate.interval.high
    return "-" if math.isnan(low) else f"{low:.4f} to {high:.4f}"


def _value(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.4f}"
