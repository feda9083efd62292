"""``plaudit eval``: how well rewards agree with comparisons, by the rules of benchmarks and on any data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from plaudit.cli.console import set_up_output
from plaudit.cli.model_options import (
    SERVER,
    Attention,
    Concurrency,
    Device,
    Dtype,
    HeadKey,
    MaxTokensPerPass,
    Protocol,
    Rescore,
    ServerModel,
    Timeout,
    Tokenizer,
    UwoCoefficient,
    go_on,
)
from plaudit.cli.running import interruptible

__all__ = ["evaluate", "register"]

DATA = "Data"
MODEL = "Model"
WORDS = "plaudit.words"
"""Where the command keeps its own words, to start itself with."""

HELP = (
    "Measure how well reward models agree with comparisons they have not seen.\n\n"
    "[bold]plaudit eval my-reward-model --data held-out.jsonl --output-dir results[/]\n\n"
    "[bold]plaudit eval model-a model-b --suite rewardbench --suite llmbar=pairs.jsonl --output-dir results[/]\n\n"
    "[bold]plaudit eval http://localhost:8000 --suite rewardbench2 --output-dir results[/]\n\n"
    "A suite is scored by its benchmark's own rule; data may have any form that training reads. Every distinct "
    "sequence of all of them is computed once. Prints scores with their intervals, ties, margins, calibration and what "
    "length alone would get, and stores the reward of every row: an interrupted run goes on when the same command is "
    "given again, and what was scored before costs nothing."
)


class EvaluateCommand(TyperCommand):
    """Keeps its words, so that it can start itself in several processes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As given."""
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run it, here or in several processes that are started with the same words."""
        set_up_output(quiet=ctx.params["quiet"])
        from plaudit.cli.launching import launch, num_to_launch

        number = num_to_launch(ctx.params["num_processes"])
        if number > 1:
            raise typer.Exit(launch(number, ["eval", *ctx.meta[WORDS]]))
        return super().invoke(ctx)


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Reward models: folders or hub ids; the address of a server, [bold]http://...[/]; or a file of "
            "rewards made elsewhere, .jsonl, .parquet or .csv.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="A benchmark by name, from the hub or from a file or folder of its schema: "
            "[bold]rewardbench[/], [bold]rewardbench=PATH[/]. Repeatable.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Comparisons: a file, folder, glob or hub id; [bold]NAME=PATH[/] says what to call them. "
            "Repeatable; each is measured by itself.",
            show_default=False,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            help="Gets a folder for each suite and data set with [bold]results.json[/] and [bold]rows.parquet[/] "
            "(every row's rewards); of several models, one such folder for each."
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
    combine: Annotated[
        str | None,
        typer.Option(
            help="Measure all models as one ensemble: mean, min (the worst case) or uwo (mean - k * variance).",
            rich_help_panel=MODEL,
            show_default="each by itself",
        ),
    ] = None,
    uwo_coefficient: UwoCoefficient = None,
    head_key: HeadKey = None,
    attention: Attention = "auto",
    dtype: Dtype = "auto",
    device: Device = None,
    max_tokens_per_pass: MaxTokensPerPass = None,
    num_processes: Annotated[
        int | None,
        typer.Option(
            help="Score in so many processes on this machine, one on each GPU. Not needed under torchrun.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    rescore: Rescore = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace results in the folder of another model, or of other data of the same name.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    rewards: Annotated[
        list[str] | None,
        typer.Option(help="A file of rewards, as MODEL may be one. Repeatable.", rich_help_panel=SERVER),
    ] = None,
    protocol: Protocol = "auto",
    server_model: ServerModel = None,
    tokenizer: Tokenizer = None,
    concurrency: Concurrency = 16,
    timeout: Timeout = 180.0,
) -> None:
    """Measure how well reward models agree with comparisons; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible(go_on(output_dir)):
        from plaudit.cli.evaluate_run import evaluate_models, say
        from plaudit.cli.evaluate_sets import SetReader
        from plaudit.cli.evaluate_sources import ModelOptions, join_processes
        from plaudit.cli.reading import ReadOptions, parse_columns
        from plaudit.errors import PlauditError
        from plaudit.tokens import LengthLimits

        everything = [*(models or []), *(rewards or [])]
        if not everything:
            raise PlauditError(
                "there is nothing to evaluate", where="MODEL", fix="Name a model, a server or --rewards."
            )
        reader = SetReader(
            suite or [],
            data or [],
            ReadOptions(
                transcripts=transcripts,
                on_bad_record=on_bad_record,
                group_by_prompt=group_by_prompt,
                columns=parse_columns(column or []),
            ),
            limit=limit,
            bad_records_folder=output_dir,
            progress=not quiet,
            on_read=lambda _, found: None if quiet else say(found),
        )
        options = ModelOptions(
            attention=attention,
            dtype=dtype,
            device=device,
            max_tokens_per_pass=max_tokens_per_pass,
            protocol=protocol,
            server_model=server_model,
            tokenizer=tokenizer,
            concurrency=concurrency,
            timeout_s=timeout,
            head_key=head_key,
            combine=combine,
            uwo_coefficient=uwo_coefficient,
        )
        settings = {
            "limits": LengthLimits(max_length=max_length, on_overlength=on_overlength),
            "ties": ties,
            "rescore": rescore,
            "overwrite": overwrite,
            "progress": not quiet,
        }
        evaluate_models(
            everything, options, reader, output_dir, settings, is_first=join_processes(device), quiet=quiet
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval", cls=EvaluateCommand, help=HELP)(evaluate)
