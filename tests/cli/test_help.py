"""The pages that --help prints."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments
from typer.testing import CliRunner

from plaudit.cli.app import app
from plaudit.cli.command_pages import command_names, commands_page
from plaudit.cli.settings import flag_of, setting_names
from plaudit.cli.train_help import HIDDEN, MOST_USED
from plaudit.training import RewardConfig

Run = Callable[..., Any]

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_page_in_the_docs_is_what_the_commands_print():
    wrong = "write it anew: python -m plaudit.cli.command_pages > docs/commands.md"
    assert PAGE.read_text() == commands_page(), wrong


def test_help_imports_neither_torch_nor_transformers():
    code = (
        "import sys; from plaudit.cli import main; assert main(['--help']) == 0; "
        "print({'torch', 'transformers', 'datasets'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "set()"


def test_the_program_says_its_version(program: Run):
    assert program("--version").out == f"plaudit {version('plaudit')}\n"


def test_every_command_has_its_section_in_the_docs():
    (listed,) = [box for box in commands_page().split("╭") if box.startswith("─ Commands")]
    assert re.findall(r"^│ (\w+) ", listed, flags=re.MULTILINE) == command_names()
    assert re.findall(r"^## plaudit (\w+)$", PAGE.read_text(), flags=re.MULTILINE) == command_names()


@pytest.mark.parametrize("command", [name for name in command_names() if name != "demo"])  # it needs nothing
def test_each_page_has_an_example(command: str):
    page = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120"})
    assert page.exit_code == 0
    assert f" plaudit {command} " in page.output


def test_train_shows_every_field_of_our_own_with_its_default():
    page = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    for name in setting_names():
        if name not in inherited:
            assert flag_of(name) in page
    assert "[default: 1024]" in page


def test_every_field_of_our_own_has_a_description():
    own = [field for field in dataclasses.fields(RewardConfig) if field.name in RewardConfig.__annotations__]
    assert [field.name for field in own if field.init and not field.metadata.get("help")] == []


def test_help_all_shows_every_setting():
    page = CliRunner().invoke(app, ["train", "--help-all"], env={"COLUMNS": "200"})
    assert page.exit_code == 0
    missing = [name for name in setting_names() if flag_of(name) not in page.output]
    assert sorted(missing) == sorted(set(HIDDEN) & set(setting_names()))


def test_the_most_used_settings_exist():
    assert set(MOST_USED) <= set(setting_names())


def test_a_misspelt_command_or_option_is_an_error_of_the_person(plaudit: Run):
    assert plaudit("trian").status == 2
    assert plaudit("score", "--inptu", "x").status == 2


def test_no_words_at_all_show_the_help(plaudit: Run):
    done = plaudit()
    assert "train" in done.out + done.err
