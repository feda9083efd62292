"""``plaudit compare``: whether models differ on the comparisons that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.console import results, set_up_output
from plaudit.cli.running import interruptible

__all__ = ["compare", "register"]

HELP = (
    "Say whether reward models differ, by their results on the same comparisons.\n\n"
    "[bold]plaudit compare results/model-a results/model-b[/]\n\n"
    "Takes the folders that [bold]plaudit eval --output-dir[/] wrote; a folder with several models stands for all of "
    "them. Gives, for each suite and subset, both accuracies, their difference with its interval, a paired test with "
    "Holm's correction, and the comparisons in which the models differ most. What is tested is the share of single "
    "comparisons that a model gets right; a suite's own score (best of four, a mean of sections) is shown and not "
    "tested. No model is loaded."
)


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B [C ...]", help="Output folders of [bold]plaudit eval[/].", show_default=False
        ),
    ],
    ties: Annotated[str, typer.Option(help="What equal rewards count for: zero or half.")] = "zero",
    show: Annotated[int, typer.Option(min=0, help="Comparisons that differ most to show, a suite.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Say whether models differ; `HELP` is its page."""
    set_up_output()
    with interruptible("Nothing was written; give the same command again."):
        import json

        from plaudit.cli.compare_display import print_comparison
        from plaudit.evaluation.compare import compare_evaluations
        from plaudit.evaluation.compare_text import comparison_values
        from plaudit.evaluation.folder import find_evaluations, read_evaluation
        from plaudit.plain_json import as_plain

        found = [path for folder in folders for path in (find_evaluations(folder) or [folder])]
        comparison = compare_evaluations([read_evaluation(path) for path in found], ties=ties, seed=seed)
        if as_json:
            values = as_plain(comparison_values(comparison, num_rows=show))
            typer.echo(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print_comparison(results(), comparison, num_rows=show)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", help=HELP)(compare)
