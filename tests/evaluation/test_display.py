"""Names of the data are printed as they are: brackets in them are no markup."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console
from rich.table import Table

from plaudit.evaluation.display import (
    estimate_cells,
    metrics_table,
    models_table,
    scores_table,
    subsets_table,
)
from plaudit.evaluation.length import Correlation
from plaudit.evaluation.metrics import compute_metrics
from plaudit.evaluation.reference import calibrate_rows
from plaudit.evaluation.suites.scores import NamedScore, SuiteScores
from plaudit.objective.intervals import no_estimate
from stand_ins.comparisons import rows_of, text_group

NAMES = ("[/b]", "[code]", "[bold red]x")
"""An end without a start is an error in rich's markup, a tag that it does not know vanishes, a style paints."""

ROWS = rows_of([text_group(f"p{i}", [f"{i}!", f"{i}?"], subset=name) for i, name in enumerate(NAMES)])
METRICS = compute_metrics(ROWS)


def printed(table: Table) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(table)
    return file.getvalue()


def scores(name: str) -> SuiteScores:
    score = NamedScore(
        name=name, value=0.5, num_items=2, kind="subset", rule=f"rule {name}", note=f"note {name}"
    )
    return SuiteScores(suite="s", headline=name, scores=(score,))


def test_subsets_have_their_names():
    said = printed(subsets_table(METRICS))
    assert all(name in said for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_titles_and_columns_and_notes_have_their_names(name: str):
    assert f"{name} on x" in printed(metrics_table(METRICS, title=f"{name} on x"))
    said = printed(scores_table(scores(name), title=f"{name} on x"))
    assert f"{name} on x" in said and f"{name} *" in said
    assert f"* rule {name}" in said and f"{name}: note {name}" in said
    said = printed(models_table([name], {f"{name}: accuracy": [no_estimate("none")]}))
    assert said.count(name) == 2
    assert f"{name} on x" in printed(calibrate_rows(ROWS).table(title=f"{name} on x"))


def test_a_title_looks_like_other_titles():
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system="standard")
    console.print(metrics_table(METRICS, title="mine"))
    console.print(Table("a wide column", title="theirs"))
    lines = file.getvalue().splitlines()
    style = next(line for line in lines if "theirs" in line).split("theirs")[0].replace(" ", "")
    assert style and style in next(line for line in lines if "mine" in line)


def test_a_number_that_is_not_defined_says_why():
    assert estimate_cells(no_estimate("no pair is equally long", n=3)) == (
        "-",
        "no pair is equally long",
        "3",
    )
    assert estimate_cells(Correlation(value=math.nan, n=2, reason="all lengths are equal")) == (
        "-",
        "all lengths are equal",
        "2",
    )
    said = " ".join(printed(metrics_table(METRICS, title="x")).split())
    assert METRICS.style.controlled.reason is not None and METRICS.style.controlled.reason in said
