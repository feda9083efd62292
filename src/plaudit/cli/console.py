"""Where the commands write: results to standard output, everything said on the way to standard error.

Guarantees: standard output holds results alone, so that it can be piped; a line of plaudit's own log is one
line; what other libraries have to say is heard from errors upwards.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any

from rich.console import Console
from rich.text import Text

__all__ = ["help_page", "messages", "results", "set_up_output"]

PIPED_WIDTH = 120
"""Columns where there is no terminal to ask (assumed: wide enough for every table)."""

STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}


def results() -> Console:
    """Standard output."""
    return _console(sys.stdout)


def messages() -> Console:
    """Standard error."""
    return _console(sys.stderr)


def help_page() -> Console:
    """Standard output in the width that the command's own help has."""
    return Console(file=sys.stdout)


def set_up_output(*, quiet: bool = False) -> None:
    """plaudit's log to standard error, other libraries' noise off. Called once by each command, before imports.

    Args:
        quiet: Warnings and errors only, and no progress bars.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # of several processes the first one speaks
    if quiet or not sys.stderr.isatty():
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module=r"plaudit(\..*)?")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of a kernel at every import on a CPU
    # It writes to standard output, where results are: at every import on a CPU, and at every start of its engine.
    logging.getLogger("DeepSpeed").addFilter(_is_error)
    log = logging.getLogger("plaudit")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False
    log.handlers = [_LineHandler()]


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


class _LineHandler(logging.Handler):
    """One log record, one line, coloured by its level."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        messages().print(Text(text, style=STYLES.get(record.levelno, "dim")), soft_wrap=True)


def _console(file: Any) -> Console:
    # A console is made anew each time: tests and progress bars replace the streams.
    return Console(file=file, width=None if file.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)
