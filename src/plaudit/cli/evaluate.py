"""``plaudit eval``: how well a model's rewards agree with comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.console import messages, results, set_up_output
from plaudit.cli.running import interruptible

__all__ = ["evaluate", "register"]

DATA = "Data"
MODEL = "Model"

HELP = (
    "Measure how well a reward model agrees with comparisons it has not seen.\n\n"
    "[bold]plaudit eval my-reward-model --data held-out.jsonl --output-dir results[/]\n\n"
    "Prints accuracy with its interval, ties, margins, calibration and what length alone would get, and stores "
    "the reward of every row, so that no statistic needs a second run. The data may have any form that training "
    "reads."
)


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The reward model: a folder or a hub id.", show_default=False),
    ],
    data: Annotated[
        list[str],
        typer.Option(help="Comparisons: a file, folder, glob or hub id. Repeatable.", show_default=False),
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option(
            help="Write [bold]results.json[/] and [bold]rows.parquet[/] (every row's rewards) here."
        ),
    ] = None,
    ties: Annotated[str, typer.Option(help="What equal rewards count for: zero or half.")] = "zero",
    limit: Annotated[int | None, typer.Option(help="Only the first so many groups.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only, and the table.")] = False,
    max_length: Annotated[
        int | None,
        typer.Option(help="Longest sequence, in tokens.", rich_help_panel=DATA, show_default="no limit"),
    ] = None,
    on_overlength: Annotated[
        str, typer.Option(help="drop, truncate-prompt or error.", rich_help_panel=DATA)
    ] = "drop",
    transcripts: Annotated[
        str,
        typer.Option(
            help="Human/Assistant transcripts as messages, as text, or auto: as in training.",
            rich_help_panel=DATA,
        ),
    ] = "auto",
    group_by_prompt: Annotated[
        bool, typer.Option("--group-by-prompt", help="Merge records of one prompt.", rich_help_panel=DATA)
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column's name in your data: [bold]ours=theirs[/]. Repeatable.", rich_help_panel=DATA
        ),
    ] = None,
    on_bad_record: Annotated[
        str, typer.Option(help="error or skip, which writes them down.", rich_help_panel=DATA)
    ] = "error",
    attention: Annotated[
        str, typer.Option(help="auto, sdpa, flex, varlen or padded.", rich_help_panel=MODEL)
    ] = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="auto (the checkpoint's own), float32, bfloat16 or float16.", rich_help_panel=MODEL
        ),
    ] = "auto",
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda, cuda:1, ...", rich_help_panel=MODEL, show_default="cuda where there is one"
        ),
    ] = None,
    max_tokens_per_pass: Annotated[
        int | None,
        typer.Option(
            help="Computed tokens in one pass: bounds memory.",
            rich_help_panel=MODEL,
            show_default="by device",
        ),
    ] = None,
) -> None:
    """Measure how well a reward model agrees with comparisons; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("Nothing was written; give the same command again."):
        from plaudit.cli.loading import load_scorer
        from plaudit.cli.reading import ReadOptions, parse_columns, read_sources
        from plaudit.evaluation import evaluate as run_evaluation
        from plaudit.preferences.holdout import first_groups
        from plaudit.tokens import LengthLimits

        limits = LengthLimits(max_length=max_length, on_overlength=on_overlength)
        options = ReadOptions(
            transcripts=transcripts,
            on_bad_record=on_bad_record,
            group_by_prompt=group_by_prompt,
            columns=parse_columns(column or []),
        )
        for problem in options.problems():
            raise problem
        scorer = load_scorer(model, attention, dtype, device, max_tokens_per_pass)
        if options.transcripts == "auto":
            options = replace(options, transcripts=scorer.transcripts)
        bad_records = output_dir / "bad-records.jsonl" if output_dir is not None else None
        preferences = read_sources(
            data, options, render=scorer.renderer.render, bad_records_path=bad_records, progress=not quiet
        )
        if limit is not None:
            preferences = first_groups(preferences, limit)
        if not quiet:
            messages().print(preferences.report.summary(), highlight=False, markup=False, soft_wrap=True)
        result = run_evaluation(
            scorer,
            preferences,
            limits=limits,
            ties=ties,
            output_dir=output_dir,
            progress=not quiet,
            name=", ".join(data),
            model=model,
        )
        result.print(results())
        if output_dir is not None and not quiet:
            messages().print(
                f"{output_dir}/results.json, {output_dir}/rows.parquet", highlight=False, markup=False
            )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval", help=HELP)(evaluate)
