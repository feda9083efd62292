"""Statistics as tables for the terminal: value, 95% interval and n on every line.

Guarantees: a name of the data (a model, a set, a subset) is printed as it is, brackets too: it is no markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from plaudit.evaluation.length import Correlation
from plaudit.evaluation.metrics import EvaluationMetrics
from plaudit.evaluation.suites import SuiteScores
from plaudit.objective.intervals import Estimate

__all__ = ["estimate_cells", "metrics_table", "models_table", "scores_table", "subsets_table", "title_of"]


def metrics_table(metrics: EvaluationMetrics, *, title: str) -> Table:
    """The statistics over all comparisons."""
    table = Table(title=title_of(title), title_justify="left")
    table.add_column("")
    for header in ("value", "95% interval", "n"):
        table.add_column(header, justify="right")
    for section in _sections(metrics):
        for label, value in section:
            table.add_row(label, *estimate_cells(value))
        table.add_section()
    return table


def scores_table(scores: SuiteScores, *, title: str) -> Table:
    """What a suite's own rule gives, kind by kind; the score of its leaderboard is marked, and notes stand below."""
    table = Table(title=title_of(title), title_justify="left", caption_justify="left")
    table.add_column("")
    for header in ("score", "95% interval", "n"):
        table.add_column(header, justify="right")
    notes: dict[str, None] = {}
    kind = None
    for score in scores.scores:
        if kind not in (None, score.kind):
            table.add_section()
        kind = score.kind
        is_headline = score.name == scores.headline
        ends = (
            ""
            if score.low is None or score.high is None
            else f"{_number(score.low)} to {_number(score.high)}"
        )
        name = Text(f"{score.name} *" if is_headline else score.name)
        style = "bold" if is_headline else None
        table.add_row(name, _number(score.value), ends, f"{score.num_items:,}", style=style)
        if score.note:
            notes[f"{score.name}: {score.note}"] = None
    caption = "\n".join([f"* {scores.headline_score.rule}", *notes])
    table.caption = Text(caption, style="table.caption")
    return table


def models_table(models: Sequence[str], headlines: Mapping[str, Sequence[Estimate]]) -> Table:
    """Several models side by side.

    Args:
        models: Their names.
        headlines: By the name of what was measured, one estimate for each model.
    """
    table = Table(title="Models", title_justify="left")
    table.add_column("")
    for name in models:
        table.add_column(Text(name), justify="right")
    for name, estimates in headlines.items():
        cells = [estimate_cells(estimate) for estimate in estimates]
        table.add_row(Text(name), *(f"{value} ({ends})" if ends else value for value, ends, _ in cells))
    return table


def subsets_table(metrics: EvaluationMetrics) -> Table:
    """One line per subset."""
    table = Table(title="Subsets", title_justify="left")
    table.add_column("subset")
    for header in ("accuracy", "95% interval", "n", "mean margin", "ties"):
        table.add_column(header, justify="right")
    for subset in metrics.subsets:
        ties = f"{subset.num_reward_ties:,}"
        cells = [*estimate_cells(subset.accuracy), _number(subset.mean_margin.value), ties]
        table.add_row(Text("(none)" if subset.name is None else subset.name), *cells)
    table.add_section()
    table.add_row("mean over subsets", *estimate_cells(metrics.macro_accuracy))
    return table


def title_of(text: str) -> Text:
    """A table's title in the style that titles have, without markup."""
    return Text(text, style="table.title")


_Value = Estimate | Correlation | float | int


def _sections(metrics: EvaluationMetrics) -> list[list[tuple[str, _Value]]]:
    calibration, length = metrics.calibration, metrics.length
    return [
        [
            ("accuracy", metrics.accuracy),
            ("equal rewards" + (" (count half)" if metrics.ties == "half" else ""), metrics.reward_tie_rate),
            ("ties in the data (excluded)", metrics.num_data_ties),
        ],
        [
            ("pick the longer", length.longer_baseline),
            ("pick the shorter", length.shorter_baseline),
            ("accuracy, better is longer", length.accuracy_better_longer),
            ("accuracy, better is shorter", length.accuracy_better_shorter),
            ("accuracy at equal length, matched", metrics.style.matched),
            ("accuracy at equal style, regression", metrics.style.controlled),
            ("reward ~ length, Pearson", length.pearson),
            ("reward ~ length, Spearman", length.spearman),
        ],
        [
            ("margin, mean", metrics.mean_margin),
            ("margin, median", metrics.median_margin),
            ("reward of better", metrics.mean_reward_better),
            ("reward of worse", metrics.mean_reward_worse),
            ("reward, standard deviation", metrics.reward_std),
        ],
        [
            ("log loss", calibration.log_loss),
            ("Brier score", calibration.brier_score),
            ("calibration error", calibration.expected_calibration_error),
            ("training loss", metrics.training_loss),
        ],
    ]


def estimate_cells(value: _Value) -> tuple[str, str, str]:
    """Value, interval and n; a number that is not defined has its reason in place of an interval."""
    if isinstance(value, Estimate | Correlation) and math.isnan(value.value):
        return _number(value.value), value.reason or "", f"{value.n:,}"
    if isinstance(value, Estimate):
        interval = value.interval
        ends = "" if math.isnan(interval.low) else f"{_number(interval.low)} to {_number(interval.high)}"
        return _number(value.value), ends, f"{value.n:,}"
    if isinstance(value, Correlation):
        return _number(value.value), "", f"{value.n:,}"
    return (f"{value:,}" if isinstance(value, int) else _number(value)), "", ""


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
