"""Options that every command takes which asks a reward model, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Attention",
    "Combine",
    "Concurrency",
    "Device",
    "Dtype",
    "HeadKey",
    "MaxTokensPerPass",
    "Models",
    "Protocol",
    "Rescore",
    "ServerModel",
    "Timeout",
    "Tokenizer",
    "UwoCoefficient",
    "go_on",
]

PANEL = "Model"
SERVER = "Servers and files of rewards"

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="The reward model: a folder or a hub id. Several are asked as an ensemble.",
        show_default=False,
    ),
]

Combine = Annotated[
    str | None,
    typer.Option(
        help="The reward of an ensemble: mean, min (the worst case) or uwo (mean - k * variance).",
        rich_help_panel=PANEL,
        show_default="mean",
    ),
]

UwoCoefficient = Annotated[
    float | None,
    typer.Option(help="k of [bold]--combine uwo[/].", rich_help_panel=PANEL, show_default="0.5"),
]

Attention = Annotated[str, typer.Option(help="auto, sdpa, flex, varlen or padded.", rich_help_panel=PANEL)]

Dtype = Annotated[
    str,
    typer.Option(help="auto (the checkpoint's own), float32, bfloat16 or float16.", rich_help_panel=PANEL),
]

Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:1, ...", rich_help_panel=PANEL, show_default="cuda where there is one"
    ),
]

HeadKey = Annotated[
    str | None,
    typer.Option(help="The head's tensor, where it has an unusual name.", rich_help_panel=PANEL),
]

MaxTokensPerPass = Annotated[
    int | None,
    typer.Option(
        help="Computed tokens in one pass: bounds memory.", rich_help_panel=PANEL, show_default="by device"
    ),
]

Rescore = Annotated[
    bool, typer.Option("--rescore", help="Score again what was scored before.", rich_help_panel=PANEL)
]

Protocol = Annotated[
    str,
    typer.Option(
        help="How a server is asked: plaudit, vllm-classify, vllm-pooling, vllm-score, sglang, openrlhf, "
        "llama-factory, tei, nim; auto: by what it says of itself.",
        rich_help_panel=SERVER,
    ),
]

ServerModel = Annotated[
    str | None,
    typer.Option(
        help="The model's name on the server.",
        rich_help_panel=SERVER,
        show_default="the first of its list",
    ),
]

Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="A model's folder or hub id whose chat template renders conversations for servers that take text; "
        "also counts tokens.",
        rich_help_panel=SERVER,
    ),
]

Concurrency = Annotated[int, typer.Option(help="Requests at a time.", rich_help_panel=SERVER)]

Timeout = Annotated[float, typer.Option(help="Seconds for an answer.", rich_help_panel=SERVER)]


def go_on(output_dir: Path | None) -> str:
    """What to do after an interruption of a command that stores rewards as they come."""
    if output_dir is None:
        return "Nothing was written; give the same command again."
    return "Give the same command again: it goes on after the last reward that was stored."
