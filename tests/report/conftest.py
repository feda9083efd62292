"""Evaluations to report on, and the page made from them once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plaudit.evaluation.suites.rewardbench import RewardBench
from plaudit.report import ModelOutput, ReportOptions, read_outputs, report_text
from stand_ins.browser import start_browser
from stand_ins.evaluations import EVIL, exclamations, make_records, write_evaluation

RECORDS = make_records(120)
RECORDS[3] |= {"chosen": EVIL, "id": EVIL}
"""One of them has markup in its completion and in its name."""

SUITE = make_records(6, subsets=("alpacaeval-easy", "hep-go"), seed=1)
"""A part of RewardBench: two of its four sections."""

TALK = [
    {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"Hello {i}?"}],
        "chosen": [{"role": "assistant", "content": f"hello and welcome number {i}!"}],
        "rejected": [{"role": "assistant", "content": f"hello number {i}"}],
    }
    for i in range(5)
]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models: both on pairs and on a part of RewardBench, one of them on conversations, too."""
    base = tmp_path_factory.mktemp("evaluations")
    suites = {"rewardbench": RewardBench()}
    first = write_evaluation(
        base / "first",
        {"pairs": RECORDS, "rewardbench": SUITE, "talk": TALK},
        name="exclaimer",
        chat=True,
        suites=suites,
    )
    second = write_evaluation(
        base / "second",
        {"pairs": RECORDS, "rewardbench": SUITE},
        name="lengthy",
        reward=lambda t: exclamations(t) + len(t) / 64,
        suites=suites,
    )
    return first, second


@pytest.fixture(scope="session")
def models(folders: tuple[Path, Path]) -> list[ModelOutput]:
    return read_outputs(folders)


@pytest.fixture(scope="session")
def page(models: list[ModelOutput]) -> str:
    """The page of both."""
    return report_text(models, "html", ReportOptions())


@pytest.fixture(scope="session")
def page_file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with start_browser() as started:
        yield started
