"""``plaudit leaks``: whether evaluation data stand in training data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plaudit.cli.console import results, set_up_output
from plaudit.cli.running import interruptible
from plaudit.errors import PlauditError

if TYPE_CHECKING:
    from plaudit.evaluation.leak_report import LeakedRow, LeakReport
    from plaudit.preferences import Preferences

__all__ = ["leaks", "register"]

HELP = (
    "Look for evaluation data in training data.\n\n"
    "[bold]plaudit leaks --train train.jsonl --data held-out.jsonl --suite rewardbench[/]\n\n"
    "Counts and names the rows whose prompt or completion is in the training data as a whole, and those that share "
    "13 words in a row with it. Case, spaces and punctuation do not matter. Completions of "
    "fewer than 5 words are not looked for, nor is what more than 10 prompts of the evaluation data share."
)


def leaks(
    train: Annotated[
        list[str],
        typer.Option(help="Training data: a file, folder, glob or hub id. Repeatable.", show_default=False),
    ],
    data: Annotated[list[str] | None, typer.Option(help="Evaluation data. Repeatable.")] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="A suite by name, or [bold]name=PATH[/]. Repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the counts and every row found here, as JSON.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Rows to show, most overlap first.")] = 10,
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only, and the table.")] = False,
) -> None:
    """Look for evaluation data in training data; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("Nothing was written; give the same command again."):
        from itertools import chain

        from plaudit.evaluation.leaks import LeakIndex
        from plaudit.plain_json import write_json
        from plaudit.preferences import read_preferences

        if not (data or suite):
            raise PlauditError("there is nothing to look for", where="--data", fix="Give --data or --suite.")
        sets = _evaluation_sets(data or [], suite or [], progress=not quiet)
        indices = {name: LeakIndex(preferences) for name, preferences in sets.items()}
        training = [read_preferences(source, streaming=True, progress=not quiet) for source in train]
        for group in chain.from_iterable(training):
            for index in indices.values():
                index.look_up(group)
        reports = {name: index.report() for name, index in indices.items()}
        for name, report in reports.items():
            _print(name, report, show)
        if output is not None:
            write_json(
                output, {"schema": "plaudit.leaks", "schema_version": 1, "train": train, "sets": reports}
            )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("leaks", help=HELP)(leaks)


def _evaluation_sets(data: list[str], suites: list[str], *, progress: bool) -> dict[str, Preferences]:
    """What to look for, by name.

    Raises:
        PlauditError: A suite is unknown, or something cannot be read.
    """
    from plaudit.evaluation.suites.registry import find_suite
    from plaudit.preferences import read_preferences

    sets = {source: read_preferences(source, progress=progress) for source in data}
    for entry in suites:
        name, _, path = entry.partition("=")
        sets[entry] = find_suite(name).read(path or None, progress=progress)
    return sets


def _print(name: str, report: LeakReport, show: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from plaudit.evaluation.leak_report import MAX_PROMPTS, MIN_COMPLETION_WORDS
    from plaudit.evaluation.word_runs import GRAM_WORDS

    table = Table(
        title=Text(f"{name} in {report.num_training_rows:,} training records"), title_justify="left"
    )
    table.add_column("")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    for label, num in (
        ("evaluation rows", report.num_rows),
        ("whole prompt in the training data", report.num_prompts_equal),
        ("a whole completion in it", report.num_completions_equal),
        (f"{GRAM_WORDS} words in a row in it", report.num_overlapping),
        ("any of these", len(report.rows)),
        (f"too short for {GRAM_WORDS} words: equal texts only", report.num_too_short),
        ("a template's words alone: equal texts only", report.num_template_only),
    ):
        table.add_row(label, f"{num:,}", f"{num / report.num_rows:.1%}" if report.num_rows else "")
    console = results()
    console.print(table)
    if report.num_completions_left_out or report.num_template_grams:
        said = (
            f"Not looked for: {report.num_completions_left_out:,} completions as a whole (under {MIN_COMPLETION_WORDS} "
            f"words, or with more than {MAX_PROMPTS} prompts), {report.num_template_grams:,} runs of {GRAM_WORDS} "
            f"words (with more than {MAX_PROMPTS} prompts)"
        )
        console.print(Text(said), style="dim", soft_wrap=True)
    ranked = sorted(report.rows, key=lambda row: (-_largest(row), row.row))
    for row in ranked[:show]:
        found = ", ".join(_found(row))
        console.print(Text(f"{row.source}: {found}; {row.found_in}"), soft_wrap=True)


def _found(row: LeakedRow) -> Iterator[str]:
    """What of a row is in the training data, in words."""
    from plaudit.evaluation.word_runs import GRAM_WORDS

    if row.is_prompt_equal:
        yield "prompt equal"
    if row.num_completions_equal:
        yield f"{row.num_completions_equal} completion{'' if row.num_completions_equal == 1 else 's'} equal"
    for share, of in ((row.prompt_overlap, "the prompt"), (row.completion_overlap, "the completions")):
        if share > 0:
            yield f"{share:.0%} of the runs of {GRAM_WORDS} words of {of}"


def _largest(row: LeakedRow) -> float:
    """How much of a row is in the training data, at most: 1 for a whole text."""
    if row.is_prompt_equal or row.num_completions_equal:
        return 1.0
    return max(share for share in (row.prompt_overlap, row.completion_overlap) if not math.isnan(share))
