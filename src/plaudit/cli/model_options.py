"""Options that every command takes which asks a reward model, in one place."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Attention",
    "Combine",
    "Device",
    "Dtype",
    "HeadKey",
    "MaxTokensPerPass",
    "Models",
    "UwoCoefficient",
]

PANEL = "Model"

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
