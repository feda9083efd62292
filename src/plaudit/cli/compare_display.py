"""A comparison of models as tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plaudit.evaluation.compare_text import p_text, points, sentence, subsets_sentence
from plaudit.evaluation.comparison import ModelComparison, PairDifference, SuiteComparison
from plaudit.evaluation.shared_rows import NotShared, RowDifference, most_different

__all__ = ["print_comparison"]

MAX_TEXT = 160
"""Characters of a text that are shown."""

MAX_NAMED = 3
"""Places of comparisons not shared that are shown."""


def print_comparison(console: Console, comparison: ModelComparison, *, num_rows: int) -> None:
    """Print every suite: what it says, the tables, the comparisons that differ most."""
    for suite in comparison.suites:
        console.rule(f"[bold]{Text(suite.suite).markup}", align="left")
        for difference in suite.whole:
            console.print(Text(sentence(difference)), soft_wrap=True)
        if (said := subsets_sentence(suite)) is not None:
            console.print(Text(said), soft_wrap=True)
        if suite.headline is not None:
            console.print(Text(_headline(suite)), soft_wrap=True)
        console.print(_table(suite))
        for line in _footnotes(suite):
            console.print(Text(line), style="dim", soft_wrap=True)
        _print_rows(console, suite, most_different(suite.shared, num_rows))
    for name, model in comparison.suites_of_one:
        console.print(Text(f"{name}: {model} alone has it, so nothing is compared."), style="dim")


def _table(suite: SuiteComparison) -> Table:
    of_several = len(suite.models) > 2
    table = Table(title="Accuracy on the shared comparisons", title_justify="left")
    table.add_column("subset")
    if of_several:
        table.add_column("models")
    names = ("first", "second") if of_several else suite.models
    for name in names:
        table.add_column(Text(_short(name)), justify="right", overflow="fold")
    for header in ("difference", "95% interval", "n", "right alone", "adj. p"):
        table.add_column(header, justify="right", no_wrap=True)
    for section in (suite.whole, suite.subsets):
        for difference in section:
            cells = [Text(_scope(difference))]
            if of_several:
                cells.append(Text(f"{_short(difference.first)}, {_short(difference.second)}"))
            table.add_row(*cells, *_cells(difference), style="bold" if difference.is_significant else None)
        table.add_section()
    return table


def _scope(difference: PairDifference) -> str:
    return "all" if difference.subset is None else difference.subset or "(none)"


def _cells(difference: PairDifference) -> list[str]:
    interval = difference.difference.interval
    return [
        f"{difference.accuracy_first:.3f}",
        f"{difference.accuracy_second:.3f}",
        points(difference.difference.value),
        f"{points(interval.low)} to {points(interval.high)}",
        f"{difference.difference.n:,}",
        f"{difference.num_only_first:,}, {difference.num_only_second:,}",
        p_text(difference.adjusted_p).removeprefix("p ").removeprefix("= "),
    ]


def _footnotes(suite: SuiteComparison) -> list[str]:
    tests = sorted({d.test for d in (*suite.whole, *suite.subsets)})
    notes = [
        "difference: second less first, in points, with a bootstrap over prompts. "
        "right alone: comparisons that the first alone, and the second alone, gets right. "
        f"adj. p: {' or '.join(tests)}; adjusted by Holm over all suites, and over all subsets",
    ]
    for d in suite.whole:
        notes.append(
            f"{d.first} and {d.second} choose alike in {d.same_choice:.1%} (Krippendorff's alpha {d.agreement:.3f})"
        )
    if suite.num_data_ties:
        notes.append(f"{suite.num_data_ties:,} shared comparisons are ties of the data and in no accuracy")
    notes += [_not_shared(entry) for entry in suite.not_shared if entry.num]
    return notes


def _not_shared(entry: NotShared) -> str:
    places = ", ".join(entry.sources[:MAX_NAMED]) + (", ..." if entry.num > MAX_NAMED else "")
    return f"{entry.num:,} comparisons of {entry.model} are not in every evaluation: {places}"


def _headline(suite: SuiteComparison) -> str:
    values = zip(suite.models, suite.headline_values, strict=True)
    named = ", ".join(f"{model} {value:.3f}" for model, value in values)
    rule = f"By the suite's own rule ({suite.headline}, over all rows of each model): {named}."
    return f"{rule} No test is made of this score: those here are of single comparisons."


def _print_rows(console: Console, suite: SuiteComparison, rows: Sequence[RowDifference]) -> None:
    if not rows:
        return
    console.print()
    console.print(Text("Where they differ most (margins of the models in their order)", style="italic"))
    for number, row in enumerate(rows, start=1):
        margins = ", ".join(
            f"{_short(model)} {margin:+.3f}" for model, margin in zip(suite.models, row.margins, strict=True)
        )
        place = " ".join(part for part in (row.source, row.subset, row.id) if part)
        console.print(Text(f"{number}. {place}: {margins}", style="bold"), soft_wrap=True)
        for label, text in (("prompt", row.prompt), ("better", row.text_better), ("worse", row.text_worse)):
            if text is not None:
                console.print(Text(f"   {label}: {_shown(text)}"), soft_wrap=True)


def _shown(text: str) -> str:
    """The text in one line; of messages what the last one says."""
    try:
        messages = json.loads(text)
        if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
            text = str(messages[-1].get("content"))
    except ValueError:
        pass
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 3] + "..."


def _short(name: str) -> str:
    """A model's name without its folders, which a column has no room for."""
    return name.rstrip("/").rsplit("/", 1)[-1] or name
