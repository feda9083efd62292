"""``plaudit demo``: the whole story offline, from samples to best of n."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.console import set_up_output
from plaudit.cli.running import interruptible

__all__ = ["demo", "register"]

HELP = (
    "Train, evaluate and use a small reward model, offline and from nothing, in about a minute.\n\n"
    "Questions ask to sort six numbers. A solver that slips now and then answers each eight times; a check says "
    "which answers are right, and each right one is better than each wrong one. A small Llama with random weights "
    "learns from these comparisons to tell right from wrong on questions it has never seen."
)


def demo(
    output_dir: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Decides questions, answers and weights.")] = 0,
    num_questions: Annotated[int, typer.Option(hidden=True)] = 5000,
    num_test_questions: Annotated[int, typer.Option(hidden=True)] = 300,
    steps: Annotated[int, typer.Option(hidden=True)] = 700,
) -> None:
    """Run the demo; `HELP` is its page."""
    set_up_output(quiet=True)
    with interruptible("Give the same command again: it starts anew."):
        from plaudit.cli.demo_story import tell

        tell(output_dir, seed, num_questions, num_test_questions, steps)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", help=HELP)(demo)
