"""``plaudit eval``: how well a model's rewards agree with comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.console import messages, results, set_up_output
from plaudit.cli.model_options import (
    Attention,
    Combine,
    Device,
    Dtype,
    HeadKey,
    MaxTokensPerPass,
    Models,
    UwoCoefficient,
)
from plaudit.cli.running import interruptible

__all__ = ["evaluate", "register"]

DATA = "Data"

HELP = (
    "Measure how well a reward model agrees with comparisons it has not seen.\n\n"
    "[bold]plaudit eval my-reward-model --data held-out.jsonl --output-dir results[/]\n\n"
    "Prints accuracy with its interval, ties, margins, calibration and what length alone would get, and stores "
    "the reward of every row, so that no statistic needs a second run. The data may have any form that training "
    "reads."
)


def evaluate(
    models: Models,
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
    combine: Combine = None,
    uwo_coefficient: UwoCoefficient = None,
    head_key: HeadKey = None,
    attention: Attention = "auto",
    dtype: Dtype = "auto",
    device: Device = None,
    max_tokens_per_pass: MaxTokensPerPass = None,
) -> None:
    """Measure how well a reward model agrees with comparisons; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("Nothing was written; give the same command again."):
        from plaudit.cli.loading import load_scorers
        from plaudit.cli.reading import ReadOptions, parse_columns, read_sources
        from plaudit.errors import PlauditError
        from plaudit.evaluation import evaluate as run_evaluation
        from plaudit.preferences.holdout import first_groups
        from plaudit.scoring import EnsembleScorer
        from plaudit.tokens import LengthLimits

        if len(models) > 1 and combine is None:
            raise PlauditError(
                f"{len(models)} models, and it is not said how they are one",
                where="--combine",
                fix="Give --combine mean, min or uwo; or evaluate one after the other.",
            )
        limits = LengthLimits(max_length=max_length, on_overlength=on_overlength)
        options = ReadOptions(
            transcripts=transcripts,
            on_bad_record=on_bad_record,
            group_by_prompt=group_by_prompt,
            columns=parse_columns(column or []),
        )
        for problem in options.problems():
            raise problem
        scorer = load_scorers(
            models,
            attention,
            dtype,
            device,
            max_tokens_per_pass,
            head_key=head_key,
            combine=combine,
            uwo_coefficient=uwo_coefficient,
        )
        if isinstance(scorer, EnsembleScorer):
            scorer.check_one_rendering()  # before the data are read
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
        )
        result.print(results())
        if output_dir is not None and not quiet:
            messages().print(
                f"{output_dir}/results.json, {output_dir}/rows.parquet", highlight=False, markup=False
            )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval", help=HELP)(evaluate)
