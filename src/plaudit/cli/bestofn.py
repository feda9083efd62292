"""``plaudit bestofn``: how good the best of n samples by reward is, against n."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plaudit.cli.console import messages, results, set_up_output
from plaudit.cli.running import interruptible
from plaudit.errors import PlauditError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from plaudit.evaluation.samples import PromptSamples

__all__ = ["bestofn", "register"]

MODEL = "Model"

HELP = (
    "Measure the quality of the best of n samples by reward, for each n.\n\n"
    "[bold]plaudit bestofn my-reward-model --samples sampled.jsonl --output-dir results[/]\n\n"
    "The samples' quality must be known: right or wrong, or any number. Beside the pick stand the oracle, a random "
    "pick and, where the samples name final answers, the majority's. All are exact over all subsets of n. Says "
    "whether the curve falls after a peak (over-optimisation), and gives curves by difficulty."
)


def bestofn(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The reward model: a folder or a hub id, or the address of a server. Or rewards made earlier: a file "
            "that [bold]plaudit score[/] wrote, or an output folder of this command.",
            show_default=False,
        ),
    ],
    samples: Annotated[
        str,
        typer.Option(help="Prompts with samples: a file, folder, glob or hub id.", show_default=False),
    ],
    n: Annotated[
        str | None,
        typer.Option("--n", help="The n, with commas.", show_default="powers of two up to all samples"),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            help="The key of a sample's quality.", show_default="is_correct, quality, rating, score, ..."
        ),
    ] = None,
    levels: Annotated[int, typer.Option(help="Levels of difficulty; 1 for none.", min=1)] = 4,
    output_dir: Annotated[
        Path | None,
        typer.Option(help="Write [bold]bestofn.json[/] and [bold]rewards.jsonl[/] here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only, and the table.")] = False,
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
    """Measure best of n; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("Nothing was written; give the same command again."):
        import json

        from plaudit.cli.bestofn_display import print_best_of_n
        from plaudit.evaluation.bestofn_result import measure_best_of_n
        from plaudit.evaluation.samples import read_samples
        from plaudit.training.plain_json import as_plain

        n_values = None if n is None else _parse_n(n)
        prompts = read_samples(samples, quality=quality)
        rewards = _stored_rewards(model, prompts)
        if rewards is None:
            rewards = _score(model, prompts, attention, dtype, device, max_tokens_per_pass, quiet=quiet)
        result = measure_best_of_n(
            prompts, rewards, n_values=n_values, num_levels=levels, model=model, name=samples
        )
        if output_dir is not None:
            result.save(output_dir)
        if as_json:
            typer.echo(json.dumps(as_plain(result.as_dict()), indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print_best_of_n(results(), result)
        if output_dir is not None and not quiet:
            said = f"{output_dir}/bestofn.json, {output_dir}/rewards.jsonl"
            messages().print(said, highlight=False, markup=False)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bestofn", help=HELP)(bestofn)


def _parse_n(text: str) -> list[int]:
    """The n of ``1,4,16``.

    Raises:
        PlauditError: One is no whole number.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise PlauditError(
            f"{text!r} is no list of whole numbers", where="--n", fix="Write them with commas: --n 1,4,16."
        )
    return [int(part) for part in parts]


def _stored_rewards(model: str, prompts: Sequence[PromptSamples]) -> Sequence[np.ndarray] | None:
    """The rewards where the model is a file or folder of them, or a server; else None."""
    from plaudit.evaluation.bestofn_result import REWARDS_FILE, rewards_from_source
    from plaudit.evaluation.remote import ServerSource
    from plaudit.evaluation.rewards_file import FileSource

    path = Path(model)
    if model.startswith(("http://", "https://")):
        return rewards_from_source(ServerSource(model), prompts)
    if (path / REWARDS_FILE).is_file():
        return rewards_from_source(FileSource(path / REWARDS_FILE), prompts)
    return rewards_from_source(FileSource(path), prompts) if path.is_file() else None


def _score(
    model: str,
    prompts: Sequence[PromptSamples],
    attention: str,
    dtype: str,
    device: str | None,
    max_tokens_per_pass: int | None,
    *,
    quiet: bool,
) -> Sequence[np.ndarray]:
    """The rewards of all samples; prompts and copies are computed once."""
    from plaudit.cli.loading import load_scorer
    from plaudit.evaluation.bestofn_result import score_samples

    scorer = load_scorer(model, attention, dtype, device, max_tokens_per_pass)
    return score_samples(scorer, prompts, progress=not quiet)
