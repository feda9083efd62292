"""The entry point: a command's outcome as an exit status.

Guarantees: 0 for success; 2 for what a person can fix, with one ``error:`` line and no traceback; 130 for
Ctrl-C, with a line that says how to go on; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.text import Text

from plaudit.cli.console import messages
from plaudit.errors import PlauditError

__all__ = ["EXIT_INTERRUPTED", "EXIT_USER_ERROR", "Interrupted", "interruptible", "main"]

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells count."""


class Interrupted(Exception):  # noqa: N818 - the person stopped it; nothing is wrong
    """Ctrl-C, with what to do to go on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    Args:
        arguments: The words after ``plaudit``; those of the process when absent.
    """
    from plaudit.cli.app import app

    try:
        app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="plaudit")
    except PlauditError as error:
        messages().print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        return EXIT_USER_ERROR
    except Interrupted as stop:
        # A progress bar may have left the cursor in the middle of its line.
        messages().print(Text(f"\ninterrupted. {stop}".rstrip()), soft_wrap=True)
        return EXIT_INTERRUPTED
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    return 0


@contextmanager
def interruptible(how_to_go_on: str) -> Iterator[None]:
    """Ctrl-C inside the block ends the command with a line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(how_to_go_on) from stop
