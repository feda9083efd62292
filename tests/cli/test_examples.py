"""The example scripts run on what the demo wrote."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from plaudit.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    sizes = ["--num-questions", "60", "--num-test-questions", "12", "--steps", "3"]
    assert main(["demo", "--output-dir", str(folder), *sizes]) == 0
    return folder


def run(name: str, *words: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_every_example_is_tested():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == ["best_of_n.py", "score.py", "train.py"]


def test_training_from_python(
    demo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run("train.py", demo_folder, 2, monkeypatch=monkeypatch)
    assert (demo_folder / "trained-from-python" / "model.safetensors").is_file()
    assert "accuracy" in capsys.readouterr().out


def test_scores_from_python_are_those_of_plain_transformers(
    demo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run("score.py", demo_folder, monkeypatch=monkeypatch)
    first, _, plain = capsys.readouterr().out.splitlines()
    assert float(first.split()[0]) == pytest.approx(float(plain.split()[0]), abs=2e-4)


def test_best_of_n_from_python(
    demo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run("best_of_n.py", demo_folder, monkeypatch=monkeypatch)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"best of {n}" for n in (1, 2, 4, 8)
    ]
