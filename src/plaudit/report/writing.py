"""From evaluations to the text of a report or leaderboard, in each of its formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError, unknown_choice
from plaudit.report.best_of_n import read_best_of_n
from plaudit.report.charts import report_charts
from plaudit.report.comparison_data import MAX_ROWS, comparison_data
from plaudit.report.contents import report_contents
from plaudit.report.drawing import NamedChart, require_drawing, write_chart
from plaudit.report.leaderboard import leaderboard_contents
from plaudit.report.markdown_text import leaderboard_markdown, report_markdown
from plaudit.report.outputs import ModelOutput
from plaudit.report.page import render_page, report_page
from plaudit.report.strip import strip_chart
from plaudit.report.text_blocks import MAX_CHARACTERS
from plaudit.training.curves import draw_curves
from plaudit.training.metrics_log import METRICS_FILE, read_metrics

__all__ = ["FORMATS", "ReportOptions", "format_of", "leaderboard_text", "report_text", "training_charts"]

FORMATS = ("html", "markdown", "json")
"""A page for people, text for a model card, values for machines."""

ENDINGS = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".json": "json"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """What goes into a report beside the evaluations, and how much of them."""

    title: str | None = None
    """The heading; one is made when absent."""
    best_of_n: Sequence[Path] = ()
    """Files of `plaudit bestofn`."""
    runs: Sequence[Path] = ()
    """Folders of training runs whose curves are shown, beside those that the models' own folders hold."""
    max_rows: int = MAX_ROWS
    """Comparisons in the page."""
    max_characters: int = MAX_CHARACTERS
    """What a longer text is cut to in the page."""
    with_texts: bool = True
    """Whether prompts and completions are in the page."""
    charts: Path | None = None
    """Where every chart is written as PNG and SVG too."""

    def problems(self) -> list[PlauditError]:
        """What is wrong with them."""
        found = []
        if self.max_rows < 0:
            found.append(PlauditError(f"{self.max_rows} rows", where="--max-rows", fix="Give 0 or more."))
        if self.max_characters < 1:
            what = f"{self.max_characters} characters"
            found.append(PlauditError(what, where="--max-characters", fix="Give 1 or more, or --no-texts."))
        return found


def format_of(output: str, given: str | None) -> str:
    """The format asked for, else the one that the file's ending says, else a page.

    Raises:
        PlauditError: There is no such format.

    >>> format_of("card.md", None), format_of("out", "json")
    ('markdown', 'json')
    """
    if given is not None and given not in FORMATS:
        raise unknown_choice("--format", given, FORMATS)
    return given or ENDINGS.get(Path(output).suffix.lower(), "html")


def report_text(
    models: Sequence[ModelOutput],
    format: str,
    options: ReportOptions,
    *,
    token_rewards: Mapping[str, Any] | None = None,
) -> str:
    """The report, and its charts on disk where they were asked for.

    Args:
        models: What `read_outputs` gives.
        format: One of `FORMATS`.
        options: What goes in.
        token_rewards: What `token_rewards.token_rewards` measured of one comparison.

    Raises:
        PlauditError: An option is wrong, a file cannot be read, or a chart is needed and cannot be drawn.
    """
    for problem in options.problems():
        raise problem
    contents = report_contents(
        models,
        title=options.title,
        best_of_n=[read_best_of_n(path) for path in options.best_of_n],
        token_rewards=token_rewards,
    )
    charts: list[NamedChart] = []
    if format == "html" or options.charts is not None:
        require_drawing()
        charts = [*report_charts(contents), *training_charts(models, options.runs)]
        charts += [strip_chart(token_rewards)] if token_rewards else []
    if options.charts is not None:
        for chart in charts:
            write_chart(chart.chart, options.charts, chart.name)
    if format == "markdown":
        return report_markdown(contents)
    if format == "json":
        return _as_json(contents)
    comparisons = comparison_data(
        models,
        max_rows=options.max_rows,
        max_characters=options.max_characters,
        with_texts=options.with_texts,
    )
    return report_page(contents, charts=charts, comparisons=comparisons)


def leaderboard_text(models: Sequence[ModelOutput], format: str, *, title: str | None = None) -> str:
    """The leaderboard in one of `FORMATS`."""
    contents = leaderboard_contents(models, title=title)
    if format == "markdown":
        return leaderboard_markdown(contents)
    if format == "json":
        return _as_json(contents)
    return render_page("leaderboard", contents=contents)


def training_charts(models: Sequence[ModelOutput], runs: Sequence[Path]) -> list[NamedChart]:
    """The curves of the runs given, and of each model whose own folder holds a run's metrics.

    Raises:
        PlauditError: A run that was given has no metrics.
    """
    own = [(model.name, Path(model.evaluation.model)) for model in models]
    found = [(name, folder) for name, folder in own if (folder / METRICS_FILE).is_file()]
    charts = []
    for name, folder in [*((run.name, run) for run in runs), *found]:
        lines = read_metrics(folder)
        if any("loss" in key for line in lines for key in line):
            charts.append(
                NamedChart(
                    name=f"training-{name}",
                    place="training",
                    title=f"Training of {name}",
                    caption="Loss, accuracy, reward margin and learning rate by optimiser step, as they were logged.",
                    chart=draw_curves(lines),
                )
            )
    return charts


def _as_json(contents: Mapping[str, Any]) -> str:
    return json.dumps(contents, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
