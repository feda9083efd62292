"""The commands' help as one page of the docs: ``python -m plaudit.cli.command_pages > docs/commands.md``."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

from plaudit.cli.app import app
from plaudit.cli.running import main

__all__ = ["command_names", "commands_page"]

WIDTH = 100

INTRODUCTION = """\
# Commands

What `plaudit --help` and each command's `--help` print. Written by `python -m plaudit.cli.command_pages`.

Exit status: 0 when all went well; 2 for what you can put right, with one `error:` line; 130 after Ctrl-C, with a
line that says how to go on. Results go to standard output, everything else to standard error.
"""


def command_names() -> list[str]:
    """Every command, in the order of `plaudit --help`."""
    return [command.name for command in app.registered_commands if command.name is not None]


def commands_page() -> str:
    """The page as Markdown."""
    parts = [INTRODUCTION, _section("plaudit", ["--help"])]
    parts += [_section(f"plaudit {name}", [name, "--help"]) for name in command_names()]
    return "\n".join(parts)


def _section(title: str, arguments: list[str]) -> str:
    with _fixed_width(), contextlib.redirect_stdout(io.StringIO()) as page:
        main(arguments)
    lines = [line.rstrip() for line in page.getvalue().strip("\n").splitlines()]
    text = "\n".join(lines).strip("\n")
    return f"## {title}\n\n```text\n{text}\n```\n"


@contextlib.contextmanager
def _fixed_width() -> Iterator[None]:
    """The page must not depend on the terminal it was written from."""
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR", "TERM")}
    os.environ.update(COLUMNS=str(WIDTH), NO_COLOR="1", TERM="dumb")
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


if __name__ == "__main__":
    print(commands_page(), end="")
