"""The tables of a report, as cells of text: the page and the Markdown show the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Cell", "Table", "format_count", "format_score", "report_tables"]

Estimate: TypeAlias = Mapping[str, Any]
"""``value``, and ``low``, ``high`` or an ``interval`` with both; ``n`` or ``num_items``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number as it is shown."""

    value: str
    """The number, or a dash where it is not defined."""
    interval: str = ""
    """Its 95% interval, or nothing."""
    n: str = ""
    """What it was computed from, or nothing."""
    is_best: bool = False
    """Whether it is the highest of its row, of those on whole data where there are any."""
    note: str = ""
    """What is missing from its data, or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of names, with a cell for each model."""

    title: str
    """What it holds."""
    models: tuple[str, ...]
    """The columns."""
    rows: tuple[tuple[str, str, tuple[Cell | None, ...]], ...]
    """Name, kind and cells of each row; no cell where a model has no such number."""


def report_tables(contents: Mapping[str, Any]) -> dict[str, Any]:
    """``headline``, and for each suite ``scores`` and ``beside``."""
    models = tuple(model["name"] for model in contents["models"])
    suites = contents["suites"]
    headline = Table(
        title="Headline scores",
        models=models,
        rows=tuple(row for suite in suites for row in _headline_rows(suite, models)),
    )
    return {
        "headline": headline,
        "scores": {suite["name"]: _score_table(suite) for suite in suites},
        "beside": {suite["name"]: _beside_table(suite) for suite in suites},
    }


def format_score(value: float | None) -> str:
    """Three digits after the point, or a dash.

    >>> format_score(0.81341), format_score(None)
    ('0.813', '-')
    """
    return "-" if value is None else f"{value:.3f}"


def format_count(value: int | None) -> str:
    """With commas at the thousands, or nothing."""
    return "" if value is None else f"{value:,}"


def _headline_rows(
    suite: Mapping[str, Any], models: Sequence[str]
) -> list[tuple[str, str, tuple[Cell | None, ...]]]:
    """One row, or several where the data of some models make the suite known by another score."""
    by_model = {result["model"]: result for result in suite["results"]}
    return [
        (suite["name"], name, _cells([_score_named(by_model.get(model), name) for model in models]))
        for name in dict.fromkeys(result["headline"]["name"] for result in suite["results"])
    ]


def _score_named(result: Mapping[str, Any] | None, name: str) -> Estimate | None:
    return next((score for score in (result or {}).get("scores", ()) if score["name"] == name), None)


def _score_table(suite: Mapping[str, Any]) -> Table:
    results = suite["results"]
    names = dict.fromkeys((score["name"], score["kind"]) for result in results for score in result["scores"])
    found = [{(s["name"], s["kind"]): s for s in result["scores"]} for result in results]
    return Table(
        title="Scores",
        models=tuple(result["model"] for result in results),
        rows=tuple(
            (name, kind, _cells([scores.get((name, kind)) for scores in found])) for name, kind in names
        ),
    )


_BESIDE = (
    ("accuracy over comparisons", "accuracy"),
    ("comparisons with equal rewards", "reward_tie_rate"),
    ("pick the longer", "length.longer_baseline"),
    ("pick the shorter", "length.shorter_baseline"),
    ("accuracy, better is longer", "length.accuracy_better_longer"),
    ("accuracy, better is shorter", "length.accuracy_better_shorter"),
    ("reward ~ length, Pearson", "length.pearson"),
    ("reward ~ length, Spearman", "length.spearman"),
    ("accuracy at equal length, matched", "style.matched"),
    ("accuracy at equal style, regression", "style.controlled"),
    ("log loss", "calibration.log_loss"),
    ("Brier score", "calibration.brier_score"),
    ("expected calibration error", "calibration.expected_calibration_error"),
    ("margin, mean", "mean_margin"),
    ("margin, median", "median_margin"),
    ("reward, mean", "reward_mean"),
    ("reward, standard deviation", "reward_std"),
)
"""What stands beside every accuracy, with its place in the metrics."""


def _beside_table(suite: Mapping[str, Any]) -> Table:
    results = suite["results"]
    rows = []
    for name, path in _BESIDE:
        values = [_at(result["metrics"], path) for result in results]
        rows.append(
            (name, "", tuple(None if value is None else _cell(_as_estimate(value)) for value in values))
        )
    for name, key in (
        ("comparisons", "num_comparisons"),
        ("ties in the data, not in the accuracy", "num_data_ties"),
    ):
        rows.append(
            (name, "", tuple(Cell(value=format_count(result["metrics"].get(key))) for result in results))
        )
    return Table(
        title="Beside the accuracy", models=tuple(result["model"] for result in results), rows=tuple(rows)
    )


def _at(metrics: Mapping[str, Any], path: str) -> Any:
    value: Any = metrics
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _as_estimate(value: Any) -> Estimate:
    return value if isinstance(value, Mapping) else {"value": value}


def _cells(estimates: Sequence[Estimate | None]) -> tuple[Cell | None, ...]:
    known = [e for e in estimates if e is not None and e["value"] is not None]
    whole = [e for e in known if not e.get("note")] or known
    best = max(e["value"] for e in whole) if len(known) > 1 else None
    return tuple(
        None if e is None else _cell(e, is_best=e in whole and e["value"] == best) for e in estimates
    )


def _cell(estimate: Estimate, *, is_best: bool = False) -> Cell:
    found = estimate.get(
        "interval"
    )  # a suite's score has the name of the method there, and its ends beside it
    ends = found if isinstance(found, Mapping) else estimate
    low, high = ends.get("low"), ends.get("high")
    n = estimate.get("num_items", estimate.get("n"))
    return Cell(
        value=format_score(estimate["value"]),
        interval="" if low is None or high is None else f"{low:.3f} to {high:.3f}",
        n=format_count(n),
        is_best=is_best,
        note=estimate.get("note") or "",
    )
