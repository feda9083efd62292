"""All commands in the order in which a reader needs them."""

from __future__ import annotations

import typer

from plaudit.cli import (
    bestofn,
    calibrate,
    compare,
    convert,
    demo,
    evaluate,
    inspect,
    leaderboard,
    leaks,
    merge,
    plan,
    report,
    score,
    train,
)

__all__ = ["app"]

HELP = (
    "Reward models, whole: train one on preference data, know how good it is, score with it.\n\n"
    "[bold]train[/] makes a reward model from comparisons, [bold]eval[/] says how well it agrees with comparisons "
    "it has not seen, [bold]compare[/] whether two models differ, [bold]bestofn[/] how good the answers are that it "
    "picks, [bold]report[/] shows it all on one page. [bold]score[/] adds a model's reward to every line of a file."
)

app = typer.Typer(
    help=HELP,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="Start with [bold]plaudit demo[/]: the whole story offline, in minutes. "
    "Each command has its own page: [bold]plaudit train --help[/].",
)


def _print_version(asked: bool) -> bool:
    if asked:
        from importlib.metadata import version

        typer.echo(f"plaudit {version('plaudit')}")
        raise typer.Exit
    return asked


@app.callback()
def plaudit(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    """Options of plaudit itself; `HELP` is its page."""


train.register(app)
plan.register(app)
evaluate.register(app)
score.register(app)
bestofn.register(app)
compare.register(app)
leaks.register(app)
report.register(app)
leaderboard.register(app)
calibrate.register(app)
merge.register(app)
convert.register(app)
inspect.register(app)
demo.register(app)
