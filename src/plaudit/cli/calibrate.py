"""``plaudit calibrate``: mean, spread and temperature of a model's rewards on a reference set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plaudit.cli.console import messages, results, set_up_output
from plaudit.cli.model_options import Attention, Device, Dtype, HeadKey, MaxTokensPerPass
from plaudit.cli.running import interruptible

if TYPE_CHECKING:
    from plaudit.model import ModelRecord
    from plaudit.scoring import Scorer

__all__ = ["calibrate", "register"]

DATA = "Data"

HELP = (
    "Measure what a reward model's numbers mean: their mean and spread, and how sure a margin is.\n\n"
    "[bold]plaudit calibrate my-reward-model --data held-out.jsonl[/]\n\n"
    "Mean and standard deviation are over the distinct conversations of the comparisons; the temperature T makes "
    "sigmoid(margin / T) the likeliest probability that the better one is preferred. They are written into the "
    "model's plaudit.json (and mean and std into the config of an OpenRLHF folder), where "
    "[bold]plaudit score --normalize[/] finds them. No weight changes, and the reward stays raw everywhere."
)


def calibrate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The reward model: a folder or a hub id.", show_default=False),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help="Comparisons, best ones that training has not seen: a file, folder, glob or hub id. Repeatable.",
            show_default=False,
        ),
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option(help="Write a calibrated copy of the model here.", show_default="in place"),
    ] = None,
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
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column's name in your data: [bold]ours=theirs[/]. Repeatable.", rich_help_panel=DATA
        ),
    ] = None,
    on_bad_record: Annotated[str, typer.Option(help="error or skip.", rich_help_panel=DATA)] = "error",
    head_key: HeadKey = None,
    attention: Attention = "auto",
    dtype: Dtype = "auto",
    device: Device = None,
    max_tokens_per_pass: MaxTokensPerPass = None,
) -> None:
    """Measure what a reward model's numbers mean; `HELP` is its page."""
    set_up_output(quiet=quiet)
    with interruptible("The model's folder is as it was; give the same command again."):
        from plaudit.cli.loading import load_scorer
        from plaudit.cli.reading import ReadOptions, parse_columns, read_sources
        from plaudit.evaluation import evaluate
        from plaudit.evaluation.reference import calibrate_rows, calibrated_record
        from plaudit.model import read_record
        from plaudit.preferences.holdout import first_groups
        from plaudit.tokens import LengthLimits

        _check_target(model, output_dir)
        limits = LengthLimits(max_length=max_length, on_overlength=on_overlength)
        options = ReadOptions(
            transcripts=transcripts, on_bad_record=on_bad_record, columns=parse_columns(column or [])
        )
        for problem in options.problems():
            raise problem
        scorer = load_scorer(model, attention, dtype, device, max_tokens_per_pass, head_key=head_key)
        if options.transcripts == "auto":
            options = replace(options, transcripts=scorer.transcripts)
        preferences = read_sources(data, options, render=scorer.renderer.render, progress=not quiet)
        if limit is not None:
            preferences = first_groups(preferences, limit)
        if not quiet:
            messages().print(preferences.report.summary(), highlight=False, markup=False, soft_wrap=True)
        result = evaluate(scorer, preferences, limits=limits, progress=not quiet, name=", ".join(data))
        calibration = calibrate_rows(result.rows)
        record = calibrated_record(read_record(model) or _new_record(scorer), calibration, result)
        written = _write(model, output_dir, record)
        results().print(calibration.table(title=f"{model} on {result.name}"))
        if (reason := calibration.temperature.reason) is not None:
            messages().print(
                f"warning: no temperature: {reason}",
                style="yellow",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        if not quiet:
            messages().print(f"{written}/plaudit.json", highlight=False, markup=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate", help=HELP)(calibrate)


def _check_target(model: str, output_dir: Path | None) -> None:
    """What would fail after everything was scored fails before."""
    from plaudit.errors import PlauditError

    if output_dir is None and not Path(model).is_dir():
        raise PlauditError(
            "is no local folder, so nothing can be written into it",
            where=model,
            fix="Name a folder for a calibrated copy with --output-dir.",
        )
    if output_dir is not None and output_dir.exists() and any(output_dir.iterdir()):
        raise PlauditError(
            "is there already", where=str(output_dir), fix="Name a new folder, or remove it first."
        )


def _new_record(scorer: Scorer) -> ModelRecord:
    """Of a model that plaudit did not write: how it is rendered here, which is how it was measured."""
    from plaudit.model import ModelRecord

    return ModelRecord(rendering=scorer.renderer.rule, transcripts=scorer.transcripts)


def _write(model: str, output_dir: Path | None, record: ModelRecord) -> Path:
    import shutil

    from plaudit.model.convert.locations import adapter_config_of, model_folder, with_absolute_base
    from plaudit.model.convert.staging import staged_folder
    from plaudit.model.normalization import write_calibrated_record
    from plaudit.model.record import replace_json

    if output_dir is None:
        write_calibrated_record(Path(model), record)
        return Path(model)
    with staged_folder(output_dir) as folder:
        shutil.copytree(model_folder(model), folder, dirs_exist_ok=True, ignore=_checkpoints)
        if (folder / "adapter_config.json").is_file():  # its base may be named from where it was
            config = with_absolute_base(adapter_config_of(folder), model_folder(model))
            replace_json(folder / "adapter_config.json", config)
        write_calibrated_record(folder, record)
    return output_dir


def _checkpoints(_folder: str, names: list[str]) -> list[str]:
    """Of a training run's folder the checkpoints stay where they are."""
    return [name for name in names if name.startswith(("checkpoint-", "."))]
