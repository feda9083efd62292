"""``plaudit merge``: one reward model whose weights are the mean of several models' weights."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.console import messages, results, set_up_output
from plaudit.cli.running import interruptible

__all__ = ["merge", "register"]

HELP = (
    "Average the weights of several reward models into one (WARM, arXiv:2401.12187).\n\n"
    "[bold]plaudit merge seed-1 seed-2 seed-3 --output-dir averaged[/]\n\n"
    "The models are fine-tunings of one pre-trained model, in one format, with one tokenizer and template; what "
    "differs is an error that names it. Head and bias are averaged with the rest. An adapter is merged into its base "
    "first: [bold]plaudit convert --merge-adapter[/]. To ask several models instead, give them all to "
    "[bold]plaudit score[/]."
)

DTYPES = ("auto", "float32", "bfloat16", "float16")


def merge(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL MODEL...", help="Two or more folders or hub ids.", show_default=False),
    ],
    output_dir: Annotated[
        Path,
        typer.Option(help="A new folder; it appears when it is complete.", show_default=False),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="The share of each, adding up to 1: [bold]0.5,0.3,0.2[/].", show_default="equal shares"
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="auto (the models' own, the widest where they differ), float32, bfloat16 or float16."
        ),
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only.")] = False,
) -> None:
    """Average the weights of several reward models; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("Nothing was written; give the same command again."):
        import torch

        from plaudit.errors import unknown_choice
        from plaudit.model.averaging import average_reward_models

        if dtype not in DTYPES:
            raise unknown_choice("--dtype", dtype, DTYPES)
        shares = None if weights is None else parse_weights(weights)
        start = time.perf_counter()
        with _progress(models, enabled=not quiet) as on_bytes:
            report = average_reward_models(
                models,
                output_dir,
                weights=shares,
                dtype=None if dtype == "auto" else getattr(torch, dtype),
                on_bytes=on_bytes,
            )
        for line in report.summary():
            results().print(line, highlight=False, markup=False, soft_wrap=True)
        if not quiet:
            seconds = time.perf_counter() - start
            messages().print(
                f"{output_dir}, in {seconds:.1f} s", highlight=False, markup=False, soft_wrap=True
            )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("merge", help=HELP)(merge)


def parse_weights(text: str) -> list[float]:
    """Numbers with commas between them.

    Raises:
        PlauditError: One is no number.

    >>> parse_weights("0.5, 0.25,0.25")
    [0.5, 0.25, 0.25]
    """
    from plaudit.errors import PlauditError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise PlauditError(
            f"{text!r} is not a list of numbers", where="--weights", fix="Write them as 0.5,0.5."
        ) from error


@contextmanager
def _progress(models: Sequence[str], *, enabled: bool) -> Iterator[Callable[[int], None] | None]:
    """A bar over the bytes of the first model's weights, where standard error is a terminal."""
    console = messages()
    if not (enabled and console.is_terminal):
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    files = [*Path(models[0]).glob("*.safetensors"), *Path(models[0]).glob("*.bin")]
    total = sum(os.path.getsize(file) for file in files) or None
    columns = (TextColumn("averaging"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("averaging", total=total)
        yield lambda num_bytes: bar.advance(task, num_bytes)
