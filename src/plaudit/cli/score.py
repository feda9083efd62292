"""``plaudit score``: a file of conversations to the same file with rewards."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from plaudit.cli.console import messages, set_up_output
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

if TYPE_CHECKING:
    from plaudit.scoring import EnsembleScorer, Scorer
    from plaudit.scoring.files import FileScores

__all__ = ["register", "score"]

HELP = (
    "Add a reward to every line of a file.\n\n"
    "[bold]plaudit score my-reward-model --input answers.jsonl --output scored.jsonl[/]\n\n"
    "A line is a JSON object with [bold]prompt[/] and [bold]completion[/], or [bold]completions[/], or with a "
    "whole conversation as [bold]messages[/]. It gets a [bold]reward[/], or [bold]rewards[/]; its other fields "
    "and the order stay. Prompts that lines have in common are computed once. An interrupted run "
    "goes on when the same command is given again.\n\n"
    "Of several models it is their combined reward, beside [bold]reward_std[/], [bold]reward_min[/] and each one's "
    "own in [bold]member_rewards[/]."
)


def score(
    models: Models,
    input: Annotated[
        str, typer.Option("--input", "-i", help="JSON lines, also .gz or .zst; [bold]-[/] is standard input.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Where they go, also .gz or .zst; [bold]-[/] is standard output."
        ),
    ],
    normalize: Annotated[
        str,
        typer.Option(
            help="Add [bold]normalized[/] beside the raw reward: affine, (r - mean) / std, or sigmoid, "
            "sigmoid((r - mean) / T), by what [bold]plaudit calibrate[/] measured."
        ),
    ] = "none",
    details: Annotated[bool, typer.Option("--details", help="Add [bold]num_tokens[/] too.")] = False,
    on_bad_record: Annotated[
        str,
        typer.Option(
            help="[bold]error[/] stops; [bold]skip[/] writes the record with a null reward and its error."
        ),
    ] = "error",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only.")] = False,
    combine: Combine = None,
    uwo_coefficient: UwoCoefficient = None,
    head_key: HeadKey = None,
    attention: Attention = "auto",
    dtype: Dtype = "auto",
    device: Device = None,
    max_tokens_per_pass: MaxTokensPerPass = None,
) -> None:
    """Add a reward to every line of a file; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("Give the same command again: it goes on after the last scored line."):
        from plaudit.cli.loading import load_scorers
        from plaudit.scoring.files import score_file

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
        with _progress(input, enabled=not quiet) as (on_window, on_sequences):
            start = time.perf_counter()
            counts = score_file(
                scorer,
                input,
                output,
                normalize=normalize,
                details=details,
                on_bad_record=on_bad_record,
                overwrite=overwrite,
                on_window=on_window,
                on_sequences=on_sequences,
            )
        if not quiet:
            _print_summary(scorer, counts, output, time.perf_counter() - start)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score", help=HELP)(score)


def _print_summary(scorer: Scorer | EnsembleScorer, counts: FileScores, output: str, seconds: float) -> None:
    saved = 1 - scorer.num_tokens_computed / scorer.num_tokens_given if scorer.num_tokens_given else 0.0
    rate = counts.num_sequences / seconds if seconds else 0.0
    where = "standard output" if output == "-" else output
    lines = [
        f"{counts.num_records:,} records, {counts.num_sequences:,} conversations scored into {where}: "
        f"{rate:,.0f} a second, {saved:.0%} of the tokens saved"
    ]
    if counts.num_resumed:
        lines.append(f"{counts.num_resumed:,} records were scored by the run that was interrupted")
    if counts.num_bad:
        lines.append(f"{counts.num_bad:,} bad records: their reward is null, and their error says why")
    if counts.num_blank:
        lines.append(f"{counts.num_blank:,} blank lines left out")
    if counts.num_over_length:
        lines.append(
            f"{counts.num_over_length:,} conversations are longer than the {scorer.max_length:,} tokens the model "
            f"was trained on (longest {counts.max_tokens:,}); they were scored whole"
        )
    for line in lines:
        messages().print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(
    source: str, *, enabled: bool
) -> Iterator[tuple[Callable[[FileScores, int], None] | None, Callable[[int], None] | None]]:
    """A bar over the input's bytes with the rate of conversations, where standard error is a terminal."""
    if not (enabled and sys.stderr.isatty()):
        yield None, None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    total = os.path.getsize(source) if os.path.isfile(source) else None
    start, num_scored = time.perf_counter(), 0
    with Progress(*columns, TimeRemainingColumn(), console=messages(), transient=True) as bar:
        task = bar.add_task("scoring", total=total)

        def on_sequences(num: int) -> None:
            nonlocal num_scored
            num_scored += num
            rate = num_scored / (time.perf_counter() - start)
            bar.update(task, description=f"{num_scored:,} conversations, {rate:,.0f}/s")

        def on_window(counts: FileScores, num_bytes: int) -> None:
            bar.update(task, completed=num_bytes)

        yield on_window, on_sequences
