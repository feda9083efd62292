"""``plaudit bestofn``: how good the best of n samples by reward is, against n."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plaudit.cli.console import messages, results, set_up_output
from plaudit.cli.model_options import (
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
    go_on,
)
from plaudit.cli.running import interruptible
from plaudit.errors import PlauditError

if TYPE_CHECKING:
    from plaudit.cli.evaluate_sources import ModelOptions
    from plaudit.evaluation.reward_source import RewardSource
    from plaudit.scoring import Scorer

__all__ = ["bestofn", "register"]

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
        typer.Option(
            help="Write [bold]bestofn.json[/] and [bold]rewards.jsonl[/] here; what was scored before, also by a run "
            "that was interrupted, is not scored again."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and errors only, and the table.")] = False,
    rescore: Rescore = False,
    head_key: HeadKey = None,
    attention: Attention = "auto",
    dtype: Dtype = "auto",
    device: Device = None,
    max_tokens_per_pass: MaxTokensPerPass = None,
    protocol: Protocol = "auto",
    server_model: ServerModel = None,
    tokenizer: Tokenizer = None,
    concurrency: Concurrency = 16,
    timeout: Timeout = 180.0,
) -> None:
    """Measure best of n; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible(go_on(output_dir)):
        import json

        from plaudit.cli.bestofn_display import print_best_of_n
        from plaudit.cli.evaluate_sources import ModelOptions
        from plaudit.evaluation.bestofn_input import check_n_values
        from plaudit.evaluation.bestofn_result import measure_best_of_n
        from plaudit.evaluation.names import without_password
        from plaudit.evaluation.remote import ServerSource, check_server_options
        from plaudit.evaluation.sample_rewards import reward_samples
        from plaudit.evaluation.samples import read_samples
        from plaudit.plain_json import as_plain

        check_server_options(protocol, concurrency, timeout)
        n_values = None if n is None else _parse_n(n)
        prompts = read_samples(samples, quality=quality)
        check_n_values(n_values or (), [len(s.completions) for s in prompts], where="--n")
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
        )
        source = _open(model, options)
        with source if isinstance(source, ServerSource) else nullcontext():
            rewards = reward_samples(
                source, prompts, output_dir=output_dir, rescore=rescore, progress=not quiet
            )
        result = measure_best_of_n(
            prompts,
            rewards,
            n_values=n_values,
            num_levels=levels,
            model=without_password(model),
            name=samples,
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


def _open(model: str, options: ModelOptions) -> Scorer | RewardSource:
    """A file or folder of rewards, a server, or a model here."""
    from plaudit.cli.evaluate_sources import open_model
    from plaudit.evaluation.bestofn_result import REWARDS_FILE
    from plaudit.evaluation.rewards_file import FileSource

    path = Path(model)
    if (path / REWARDS_FILE).is_file():
        return FileSource(path / REWARDS_FILE)
    return FileSource(path) if path.is_file() else open_model(model, options)
