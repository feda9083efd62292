"""Outcomes as exit statuses."""

from __future__ import annotations

import pytest
import typer

from plaudit.cli import app as app_module
from plaudit.cli.running import Interrupted, interruptible, main
from plaudit.errors import PlauditError


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch):
    """Make ``plaudit x`` raise something."""

    def install(error: BaseException) -> None:
        app = typer.Typer(pretty_exceptions_enable=False)

        @app.callback()
        def root() -> None: ...

        @app.command("x")
        def x() -> None:
            raise error

        monkeypatch.setattr(app_module, "app", app)

    return install


def test_what_a_person_can_fix_is_one_line_and_status_2(raising, capsys: pytest.CaptureFixture[str]):
    long = "values " * 60
    raising(PlauditError(f"[a] {long}", where="file:3", fix="Do [bold]this[/]."))
    assert main(["x"]) == 2
    captured = capsys.readouterr()
    # One line however long, and nothing in it is taken for markup.
    assert captured.err == f"error: file:3: [a] {long}. Do [bold]this[/].\n"
    assert captured.out == ""


def test_ctrl_c_is_status_130_and_says_how_to_go_on(raising, capsys: pytest.CaptureFixture[str]):
    raising(Interrupted("Run it again."))
    assert main(["x"]) == 130
    assert capsys.readouterr().err == "\ninterrupted. Run it again.\n"


def test_a_bug_keeps_its_traceback(raising):
    raising(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["x"])


def test_an_interrupt_inside_the_block_says_how_to_go_on():
    with pytest.raises(Interrupted, match="again"), interruptible("Give the command again."):
        raise KeyboardInterrupt
