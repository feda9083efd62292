"""``plaudit convert``: a reward model in another format, proven to give the same rewards."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from plaudit.cli.console import messages, set_up_output
from plaudit.cli.running import interruptible
from plaudit.errors import PlauditError, unknown_choice

__all__ = ["convert", "register"]

WEIGHTS = "Weights"

HELP = (
    "Write a reward model in the format that its consumer reads.\n\n"
    "[bold]plaudit convert llama-factory-rm my-rm --to sequence-classification[/]\n\n"
    "[bold]sequence-classification[/] is read by transformers, vLLM, SGLang and TRL, [bold]value-head[/] by "
    "LLaMA-Factory, [bold]openrlhf[/] by OpenRLHF; [bold]adapter[/] turns an adapter with a value head into one of "
    "peft for sequence classification. A fixed set of conversations is scored before and after: where the rewards "
    "differ, nothing is written. Tensors are copied one at a time, so memory stays small."
)

DTYPES = ("float32", "bfloat16", "float16")
UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="The reward model: a folder or a hub id.", show_default=False),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to: a new folder.", show_default=False)
    ],
    to: Annotated[
        str,
        typer.Option(
            help="[bold]sequence-classification[/], [bold]value-head[/], [bold]openrlhf[/] or [bold]adapter[/].",
            show_default=False,
        ),
    ],
    bias: Annotated[
        str | None,
        typer.Option(
            help="[bold]keep[/] or [bold]drop[/] a head's bias. Dropped, every reward moves by as much, which is "
            "said, and margins stay.",
            show_default="keep in a value head, drop elsewhere",
        ),
    ] = None,
    merge_adapter: Annotated[
        bool, typer.Option("--merge-adapter", help="Merge an adapter into its base, layer by layer.")
    ] = False,
    no_proof: Annotated[
        bool,
        typer.Option("--no-proof", help="Do not score conversations before and after: less memory and time."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only.")] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Cast all weights to float32, bfloat16 or float16.",
            rich_help_panel=WEIGHTS,
            show_default="as they are",
        ),
    ] = None,
    shard_size: Annotated[
        str, typer.Option(help="The largest weight file: 500MB, 5GB, ...", rich_help_panel=WEIGHTS)
    ] = "5GB",
    value_head_format: Annotated[
        str,
        typer.Option(
            help="The value head's file: [bold]safetensors[/] or [bold]bin[/].", rich_help_panel=WEIGHTS
        ),
    ] = "safetensors",
    lm_head_from: Annotated[
        str | None,
        typer.Option(
            help="A causal model whose language-model head goes beside a value head.",
            rich_help_panel=WEIGHTS,
            show_default="the source's, or tied",
        ),
    ] = None,
    head_key: Annotated[
        str | None,
        typer.Option(
            help="The name of the head's weight, where it is an unusual one.", rich_help_panel=WEIGHTS
        ),
    ] = None,
) -> None:
    """Write a reward model in the format that its consumer reads; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("Nothing was written; give the same command again."):
        num_bytes = parse_size(shard_size)
        if dtype is not None and dtype not in DTYPES:
            raise unknown_choice("--dtype", dtype, DTYPES)
        import torch

        from plaudit.model.convert import convert_checkpoint

        with _progress(enabled=not quiet) as on_bytes:
            done = convert_checkpoint(
                source,
                folder,
                to=to,
                dtype=None if dtype is None else getattr(torch, dtype),
                bias=bias,
                merge_adapter=merge_adapter,
                prove=not no_proof,
                max_shard_bytes=num_bytes,
                value_head_format=value_head_format,
                language_head_from=lm_head_from,
                head_key=head_key,
                on_bytes=on_bytes,
            )
        _say(done, source, folder, quiet=quiet)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert", help=HELP)(convert)


def parse_size(text: str) -> int:
    """Bytes of a size in words.

    Raises:
        PlauditError: It is none.

    >>> parse_size("5GB"), parse_size("1.5 MiB"), parse_size("100")
    (5000000000, 1572864, 100)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    unit = UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise PlauditError(f"{text!r} is no size", where="--shard-size", fix="Give one such as 500MB or 5GB.")
    return int(float(found[1]) * unit)


def _say(done: Any, source: str, folder: Path, *, quiet: bool) -> None:
    console = messages()
    for note in done.notes:
        console.print(
            f"note: {note.rstrip('.')}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )
    if quiet:
        return
    lines = [
        f"{source} ({done.source_format}) -> {folder} ({done.to}): {len(done.tensors):,} tensors, "
        f"{done.num_bytes / 1e9:,.2f} GB",
        done.proof.line() if done.proof is not None else "proof: none was asked for",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(*, enabled: bool) -> Iterator[Callable[[int], None] | None]:
    """Bytes written so far, where standard error is a terminal."""
    if not (enabled and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), TextColumn("writing"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=messages(), transient=True) as bar:
        task = bar.add_task("writing", total=None)
        yield lambda num_bytes: bar.update(task, advance=num_bytes)
