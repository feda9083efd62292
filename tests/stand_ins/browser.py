"""A headless Chromium, where there is one: playwright drives the browser that the machine has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

__all__ = ["CHROMIUM_VARIABLE", "Visit", "find_chromium", "open_page", "start_browser"]

CHROMIUM_VARIABLE = "PLAUDIT_CHROMIUM"
"""Names the program where it is not on the path."""

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


PATIENCE_MS = 120_000
"""What a busy machine may take; no test asserts a time."""


@dataclass
class Visit:
    """A page that was opened, and what it did."""

    page: Any
    """playwright's page."""
    requests: list[str] = field(default_factory=list)
    """Every address that it asked for, its own file included."""
    said: list[str] = field(default_factory=list)
    """Messages in the console, and errors."""

    def wait_until(self, expression: str) -> None:
        """Wait until an expression is true in the page. playwright's own wait evaluates text inside the page, which
        the page's Content-Security-Policy forbids."""
        for _ in range(PATIENCE_MS // 50):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")


def find_chromium() -> str | None:
    """The program, by `CHROMIUM_VARIABLE` or on the path."""
    return os.environ.get(CHROMIUM_VARIABLE) or next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def start_browser() -> Iterator[Any]:
    """A browser without a window. Skips the test, with what is missing, where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api",
        reason="no playwright (pip install playwright): the page is not opened in a browser",
    )
    program = find_chromium()
    if program is None:
        pytest.skip(
            f"no Chromium on the path (or in {CHROMIUM_VARIABLE}): the page is not opened in a browser"
        )
    with playwright.sync_playwright() as driver:
        # No sandbox of its own: as root in a container it has no right to one, and the pages are our own.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Any, file: Path, *, size: tuple[int, int] = (1280, 900), fragment: str = "", **context: Any
) -> Iterator[Visit]:
    """A file from disk in a browser that is offline."""
    with browser.new_context(
        viewport={"width": size[0], "height": size[1]}, offline=True, **context
    ) as window:
        window.set_default_timeout(PATIENCE_MS)
        visit = Visit(window.new_page())
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.on("console", lambda message: visit.said.append(message.text))
        visit.page.on("pageerror", lambda error: visit.said.append(str(error)))
        visit.page.goto(file.as_uri() + fragment)
        yield visit
