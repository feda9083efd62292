"""``plaudit train``: preference data to a trained reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from plaudit.cli.console import help_page, messages, results, set_up_output
from plaudit.cli.running import interruptible

__all__ = ["register", "train"]

DATA = "Data"
RUN = "Run"

WORDS = "plaudit.words"
"""Where the command keeps its own words, to start itself with."""

HELP = (
    "Train a reward model on comparisons.\n\n"
    "[bold]plaudit train --model Qwen/Qwen3-0.6B --data pairs.jsonl --eval-fraction 0.05 --output-dir rm[/]\n\n"
    "[bold]plaudit train --config run.yaml --learning-rate 2e-5 --max-length none --output-dir rm-2[/]\n\n"
    "The data may have any common form (chosen and rejected, ratings, ranks, verified samples): it is "
    "recognised. The settings below the options are given in the same way, [bold]--max-length 2048[/]. An "
    "interrupted run goes on when the same command is given again."
)


class TrainCommand(TyperCommand):
    """Lets ``--data a b c`` take several values, and shows the settings below the command's own options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """``--data a b`` becomes ``--data a --data b``."""
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, _repeat_flags(args, ("--data", "--eval-data")))

    def invoke(self, ctx: Any) -> Any:
        """Run it, here or in several processes that are started with the same words."""
        set_up_output(quiet=ctx.params["quiet"])
        number = _num_to_launch(ctx.params["num_processes"], ctx.params["config"])
        if number > 1:
            from plaudit.cli.launching import launch

            raise typer.Exit(launch(number, ["train", *ctx.meta[WORDS]]))
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The command's page, then the settings."""
        super().format_help(ctx, formatter)
        from plaudit.cli.train_help import print_settings

        print_settings(help_page())


def _print_all_settings(asked: bool) -> bool:
    if asked:
        from plaudit.cli.train_help import print_all_settings

        print_all_settings(help_page())
        raise typer.Exit
    return asked


def train(
    settings: Annotated[list[str] | None, typer.Argument(metavar="SETTINGS", hidden=True)] = None,
    model: Annotated[str | None, typer.Option(help="What to start from: a folder or a hub id.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Comparisons: files, folders, globs or hub ids, several after one another; "
            "[bold]path=0.5[/] takes half of one, [bold]path=1000[/] a thousand groups."
        ),
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where checkpoints, model and metrics go.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file with options by name (all but --resume, --overwrite, --quiet); flags override it."
        ),
    ] = None,
    eval_data: Annotated[
        list[str] | None, typer.Option(help="Comparisons to evaluate on.", rich_help_panel=DATA)
    ] = None,
    eval_fraction: Annotated[
        float | None,
        typer.Option(help="Or hold out this share of the groups, by prompt.", rich_help_panel=DATA),
    ] = None,
    eval_groups: Annotated[
        int | None, typer.Option(help="Or hold out so many groups, by prompt.", rich_help_panel=DATA)
    ] = None,
    group_by_prompt: Annotated[
        bool | None,
        typer.Option(
            "--group-by-prompt",
            help="All comparisons of a prompt in one group: each completion is computed once, in one step.",
            rich_help_panel=DATA,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column's name in your data: [bold]ours=theirs[/]. Repeatable.", rich_help_panel=DATA
        ),
    ] = None,
    on_bad_record: Annotated[
        str | None,
        typer.Option(
            help="[bold]error[/] (default) or [bold]skip[/], which writes them down.", rich_help_panel=DATA
        ),
    ] = None,
    num_processes: Annotated[
        int | None,
        typer.Option(
            help="Train in so many processes on this machine, one on each GPU; [bold]--parallel[/] says how they "
            "share the work. Not needed under torchrun and accelerate launch.",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        str,
        typer.Option(
            help="[bold]auto[/] goes on from the last whole checkpoint of the same run; "
            "[bold]never[/]; or a checkpoint's path.",
            rich_help_panel=RUN,
        ),
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another run's output folder.", rich_help_panel=RUN)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Warnings and errors only.", rich_help_panel=RUN)
    ] = False,
    help_all: Annotated[
        bool,
        typer.Option(
            "--help-all",
            callback=_print_all_settings,
            is_eager=True,
            help="Every setting.",
            rich_help_panel=RUN,
        ),
    ] = False,
) -> None:
    """Train a reward model on comparisons; `HELP` is its page."""
    given = {"model": model, "data": data, "eval_data": eval_data, "output_dir": output_dir}
    given |= {"eval_fraction": eval_fraction, "eval_groups": eval_groups, "group_by_prompt": group_by_prompt}
    given |= {"column": column, "on_bad_record": on_bad_record, "num_processes": num_processes}
    set_up_output(quiet=quiet)
    with interruptible("Give the same command again: it goes on from the last whole checkpoint."):
        _train(given, settings or [], config, resume=resume, overwrite=overwrite, quiet=quiet)


def register(app: typer.Typer) -> None:
    """Add the command."""
    takes_settings = {"ignore_unknown_options": True}
    app.command("train", cls=TrainCommand, help=HELP, context_settings=takes_settings)(train)


def _num_to_launch(asked: int | None, config: Path | None) -> int:
    """How many processes to start, by the flag or the configuration file; 1 where this one is enough."""
    from plaudit.cli.launching import num_to_launch

    if asked is None and config is not None:
        from plaudit.cli.run_file import read_run_file

        written = read_run_file(Path(config)).get("num_processes")
        asked = written if isinstance(written, int) else None  # else it is named among the problems
    return num_to_launch(asked)


def _train(
    given: dict[str, Any],
    leftover: list[str],
    config: Path | None,
    *,
    resume: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    from plaudit.cli.train_display import print_end, start_panel
    from plaudit.cli.train_run import begin, build_trainer, finish, resolve_run, start_of

    run = resolve_run(given, leftover, config)
    checkpoint = start_of(run, resume=resume, overwrite=overwrite)
    trainer, parts = build_trainer(run, quiet=quiet)
    begin(run, trainer, checkpoint)
    is_main = trainer.is_world_process_zero()
    if is_main and not quiet:
        messages().print(start_panel(trainer, parts, checkpoint))
    outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finish(trainer, outcome.metrics)
    if is_main and not quiet:
        print_end(results(), trainer.state.log_history, run.folder)


def _repeat_flags(words: list[str], flags: tuple[str, ...]) -> list[str]:
    """Write a flag before each of its values.

    >>> _repeat_flags(["--data", "a", "b", "--fp16"], ("--data",))
    ['--data', 'a', '--data', 'b', '--fp16']
    """
    repeated: list[str] = []
    flag, num_values = None, 0
    for word in words:
        if word.startswith("--"):
            flag, num_values = (word if word in flags else None), 0
        elif flag is not None:
            repeated += [flag] if num_values else []
            num_values += 1
        repeated.append(word)
    return repeated
