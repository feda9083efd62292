"""``plaudit report``: evaluations as one page, as Markdown for a model card, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.console import messages, set_up_output
from plaudit.cli.running import interruptible

__all__ = ["register", "report"]

PAGE = "Page"
TOKENS = "Reward at each token"

HELP = (
    "Show evaluations on one page that opens without a network.\n\n"
    "[bold]plaudit report results --output report.html[/]\n\n"
    "Scores with their intervals, calibration, margins, length, best of n and training curves, and every comparison "
    "to search and filter. Everything is in the one file. A file that ends in .md is Markdown for a model card, one "
    "in .json is for machines; - is standard output."
)


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="OUTPUT...", help="Output folders of plaudit eval.", show_default=False),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="The file to write; - is standard output.", show_default=False),
    ],
    format: Annotated[
        str | None, typer.Option(help="html, markdown or json.", show_default="by the file's ending")
    ] = None,
    title: Annotated[str | None, typer.Option(help="The heading.", show_default="the models' names")] = None,
    best_of_n: Annotated[
        list[Path] | None, typer.Option(help="JSON of plaudit bestofn. Repeatable.", show_default=False)
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="Output folder of a training run whose curves are shown; those in a model's own folder are found. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    charts: Annotated[
        Path | None, typer.Option(help="Write every chart as PNG and SVG here too.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only.")] = False,
    max_rows: Annotated[
        int, typer.Option(help="Comparisons in the page, spread evenly over the data.", rich_help_panel=PAGE)
    ] = 20_000,
    max_characters: Annotated[
        int, typer.Option(help="What a longer prompt or completion is cut to.", rich_help_panel=PAGE)
    ] = 8_000,
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Leave prompts and completions out.", rich_help_panel=PAGE)
    ] = False,
    tokens_of: Annotated[
        str | None,
        typer.Option(
            help="Key of a comparison, as the page shows it.", rich_help_panel=TOKENS, show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The reward model that scores its tokens.", rich_help_panel=TOKENS, show_default=False
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=TOKENS)
    ] = "auto",
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, ...", rich_help_panel=TOKENS, show_default="cuda where there is one"),
    ] = None,
) -> None:
    """Show evaluations on one page; `HELP` is its own."""
    set_up_output(quiet=quiet)
    with interruptible("Nothing was written; give the same command again."):
        from plaudit.report import ReportOptions, read_outputs, report_text
        from plaudit.report.writing import format_of

        options = ReportOptions(
            title=title,
            best_of_n=best_of_n or [],
            runs=run or [],
            max_rows=max_rows,
            max_characters=max_characters,
            with_texts=not no_texts,
            charts=charts,
        )
        kind = format_of(output, format)
        for problem in options.problems():
            raise problem
        models = read_outputs(folders)
        measured = _token_rewards(models, tokens_of, model, dtype, device)
        write_text(output, report_text(models, kind, options, token_rewards=measured), quiet=quiet)


def write_text(output: str, text: str, *, quiet: bool) -> None:
    """Write a file whole and say where; ``-`` is standard output."""
    if output == "-":
        typer.echo(text, nl=False)
        return
    from plaudit.whole_file import write_whole

    write_whole(Path(output), text)
    if not quiet:
        size = len(text.encode("utf-8", "replace")) / 1e6
        messages().print(f"{output} ({size:.1f} MB)", highlight=False, markup=False, soft_wrap=True)


def _token_rewards(models, key: str | None, model: str | None, dtype: str, device: str | None):
    """What the option asks to measure, or None.

    Raises:
        PlauditError: One of the two options alone.
    """
    from plaudit.errors import PlauditError

    if key is None and model is None:
        return None
    if key is None or model is None:
        alone, other = ("--model", "--tokens-of") if key is None else ("--tokens-of", "--model")
        raise PlauditError(f"{alone} without {other}", where=alone, fix=f"Give {other} too.")
    from plaudit.cli.loading import load_scorer
    from plaudit.report.token_rewards import find_row, token_rewards

    find_row(models, key)  # before a model is loaded
    return token_rewards(models, key, load_scorer(model, "auto", dtype, device, None))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", help=HELP)(report)
