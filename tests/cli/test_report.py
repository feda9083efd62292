"""plaudit report and plaudit leaderboard, from a folder to a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stand_ins.evaluations import make_records, write_evaluation

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models' output folders in one."""
    folder = tmp_path_factory.mktemp("results")
    for name, reward in {"good": lambda t: float(t.count("!")), "long": lambda t: len(t) / 8}.items():
        write_evaluation(folder / name, {"pairs": make_records(20)}, name=name, reward=reward)
    return folder


def test_the_page_is_written_with_its_charts_and_the_file_is_named(
    plaudit: Run, results: Path, tmp_path: Path
):
    output = tmp_path / "out" / "report.html"
    done = plaudit("report", results / "good", "--output", output, "--charts", tmp_path / "charts")
    assert done.status == 0, done.err
    assert done.out == "" and "report.html" in done.err
    assert output.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "charts" / "pairs-scores.png").is_file()


def test_the_ending_decides_on_the_format_and_a_dash_is_standard_output(
    plaudit: Run, results: Path, tmp_path: Path
):
    done = plaudit("report", results, "-o", tmp_path / "card.md")
    assert done.status == 0 and (tmp_path / "card.md").read_text().startswith(
        "## Evaluation of good and long"
    )
    done = plaudit("report", results, "-o", "-", "--format", "json", "--quiet")
    assert done.err == "" and json.loads(done.out)["schema"] == "plaudit.report"


def test_the_leaderboard_finds_the_runs_of_a_folder(plaudit: Run, results: Path, tmp_path: Path):
    done = plaudit("leaderboard", results, "-o", tmp_path / "l.json")
    assert done.status == 0, done.err
    assert {row["model"] for row in json.loads((tmp_path / "l.json").read_text())["rows"]} == {"good", "long"}
    done = plaudit("leaderboard", results, "-o", "-", "--format", "markdown")
    assert done.out.startswith("## Leaderboard\n\n| model | pairs |")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "pdf"], "--format"),
        (["--max-rows", "-1"], "--max-rows"),
        (["--tokens-of", "abc"], "--model"),
        (["--model", "abc"], "--tokens-of"),
        (["--tokens-of", "zzz", "--model", "abc"], "no comparison has the key"),
        (["--best-of-n", "nowhere.json"], "nowhere.json"),
        (["--run", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_choice_is_named_without_a_traceback(
    plaudit: Run, results: Path, tmp_path: Path, words: list[str], said: str
):
    done = plaudit("report", results / "good", "-o", tmp_path / "r.html", *words)
    assert done.status == 2 and said in done.err.splitlines()[-1] and "Traceback" not in done.err
    assert not (tmp_path / "r.html").exists()
