"""``plaudit inspect``: what a model folder is, without loading it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.cli.console import results, set_up_output
from plaudit.cli.model_options import HeadKey

if TYPE_CHECKING:
    from plaudit.model.inspection import Inspection

__all__ = ["inspect", "register"]

HELP = (
    "Say what a model folder is: its format, head, tokens and template, and what to look out for.\n\n"
    "[bold]plaudit inspect my-reward-model[/]\n\n"
    "Reads headers, the head's values, config and tokenizer, never the whole model. A model of the hub is fetched "
    "first, as loading would."
)


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder or a hub id.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    head_key: HeadKey = None,
) -> None:
    """Say what a model folder is; `HELP` is its page."""
    set_up_output(quiet=True)
    from plaudit.model.inspection import inspect_model

    found = inspect_model(model, head_key=head_key)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        _print(found)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", help=HELP)(inspect)


def _print(found: Inspection) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, Text(value))
    console = results()
    console.print(table)
    for style, word, sentences in (
        ("bold red", "problem", found.problems),
        ("yellow", "note", found.warnings),
    ):
        for sentence in sentences:
            console.print(Text.assemble((f"{word}: ", style), sentence), soft_wrap=True)


def _rows(found: Inspection) -> list[tuple[str, str]]:
    rows = [
        ("path", found.path),
        ("format", f"{found.format}: {found.description}"),
        ("class", found.architecture or "none named"),
    ]
    if found.base is not None:
        rows.append(("base", found.base))
    rows += [
        ("weights", _weights(found.weights)),
        ("head", _head(found.head)),
        ("scored at", found.scored_token),
        ("tokens", _tokens(found.tokens)),
        ("rendering", _template(found.template)),
        ("normalisation", _normalization(found.normalization)),
    ]
    return rows


def _weights(weights: Any) -> str:
    dtypes = ", ".join(
        f"{dtype} ({number / max(1, weights['num_parameters']):.0%})"
        for dtype, number in weights["dtypes"].items()
    )
    return (
        f"{weights['num_parameters']:,} parameters in {weights['num_tensors']:,} tensors and "
        f"{weights['num_files']} files, {weights['num_bytes'] / 2**20:,.1f} MiB, {dtypes or 'none'}"
    )


def _head(head: Any) -> str:
    if head is None:
        return "none in this folder"
    bias = (
        "no bias"
        if head["bias_value"] is None
        else f"bias {', '.join(f'{b:.6g}' for b in head['bias_value'])}"
    )
    shape = " x ".join(map(str, head["shape"]))
    return f"{head['weight']} in {head['file']}: {shape}, {head['dtype']}, norm {head['norm']:.6g}, {bias}"


def _tokens(tokens: Any) -> str:
    eos = ", ".join(map(str, tokens["eos_token_ids"])) or "none"
    config = f"config: pad {tokens['pad_token_id']}, eos {eos}"
    if tokens["num_tokens"] is None:
        return config
    return (
        f"{config}; tokenizer: pad {tokens['pad_token']!r}, eos {tokens['eos_token']!r}, "
        f"{tokens['num_tokens']:,} tokens"
    )


def _template(template: Any) -> str:
    if template["rendering"] is None:
        return "unknown without a tokenizer"
    if template["rendering"] == "text":
        return "plain text with the end-of-sequence token"
    end = "" if template["ends_with"] is None else f", ends with {template['ends_with']!r}"
    return f"chat template {str(template['sha256'])[:12]}{end}"


def _normalization(normalization: Any) -> str:
    if normalization is None:
        return "none stored"
    return (
        f"mean {normalization['mean']:.6g}, std {normalization['std']:.6g} ({normalization['source']}); off"
    )
