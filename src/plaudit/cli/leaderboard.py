"""``plaudit leaderboard``: many evaluations in one sortable table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.console import set_up_output
from plaudit.cli.report import write_text
from plaudit.cli.running import interruptible

__all__ = ["leaderboard", "register"]

HELP = (
    "Put many evaluations into one sortable table: models by suites.\n\n"
    "[bold]plaudit leaderboard results --output leaderboard.html[/]\n\n"
    "The best of each suite is marked, and so are the models that cannot be told from it by a paired test on the "
    "comparisons that both have. A file that ends in .md is Markdown, one in .json is for machines; - is standard "
    "output."
)


def leaderboard(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A folder with output folders of plaudit eval in it.", show_default=False
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="The file to write; - is standard output.", show_default=False),
    ],
    format: Annotated[
        str | None, typer.Option(help="html, markdown or json.", show_default="by the file's ending")
    ] = None,
    title: Annotated[str, typer.Option(help="The heading.")] = "Leaderboard",
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only.")] = False,
) -> None:
    """Put many evaluations into one table; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("Nothing was written; give the same command again."):
        from plaudit.report import leaderboard_text, read_runs
        from plaudit.report.writing import format_of

        kind = format_of(output, format)
        write_text(output, leaderboard_text(read_runs(folder), kind, title=title), quiet=quiet)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("leaderboard", help=HELP)(leaderboard)
