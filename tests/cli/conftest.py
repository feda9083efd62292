"""Folders and files that the commands work on, and the commands run in this process or as the real program."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from plaudit.cli import main
from stand_ins.folders import PAIRS, write_causal_model, write_reward_model

PROGRAM = Path(sys.executable).with_name("plaudit")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command left."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A command sets up logging, warnings and the environment of its process; the next test gets them back."""
    log, environment = logging.getLogger("plaudit"), dict(os.environ)
    state = log.level, log.propagate, log.handlers
    with warnings.catch_warnings():
        yield
    log.level, log.propagate, log.handlers = state
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def plaudit(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command line in this process."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(status=status, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def program() -> Callable[..., Outcome]:
    """Run the installed program."""

    def run(*words: object, given: str = "") -> Outcome:
        done = subprocess.run(
            [str(PROGRAM), *map(str, words)], input=given, capture_output=True, text=True, timeout=120
        )
        return Outcome(status=done.returncode, out=done.stdout, err=done.stderr)

    return run


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model without a reward head."""
    return write_causal_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model."""
    return write_reward_model(tmp_path_factory.mktemp("reward-model"))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 comparisons of text."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    return path
