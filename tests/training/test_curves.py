"""The curves show what was logged, and a run never fails for want of them."""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from plaudit.training.curves import draw_curves, write_curves


def training_line(step: int, **more: float) -> dict[str, Any]:
    values = {"loss": 0.7 - step / 100, "rm/accuracy": 0.5 + step / 100, "rm/reward_margin": step / 10}
    return {"step": step, "epoch": step / 10, **values, "rm/lr": 1e-5, **more}


def evaluation_line(step: int, name: str = "eval") -> dict[str, Any]:
    values = {"num_comparisons": 9, "loss": 0.6, "rm/accuracy": 0.6, "rm/reward_margin": 0.4}
    return {"step": step} | {f"{name}_{metric}": value for metric, value in values.items()}


def drawn(chart: Any) -> dict[str, list[dict[str, Any]]]:
    """The points of each panel by its title, read from the Vega-Lite specification."""
    panels = {}
    specification = chart.to_dict()
    for row in specification["vconcat"]:
        for panel in row["hconcat"]:
            title = next(layer["mark"]["text"] for layer in panel["layer"] if layer["mark"].get("text"))
            line = next(layer for layer in panel["layer"] if layer["mark"]["type"] == "line")
            panels[title] = specification["datasets"][line["data"]["name"]]
    return panels


def png_size(file: Path) -> tuple[int, int]:
    content = file.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def test_png_and_svg_are_written(tmp_path: Path) -> None:
    lines = [training_line(1), training_line(2), evaluation_line(2), training_line(3)]
    files = write_curves(lines, tmp_path / "run")
    assert [file.name for file in files] == ["curves.png", "curves.svg"]
    width, height = png_size(files[0])
    assert width > 1_600 and height > 1_000, "two by two panels at double density"
    drawing = files[1].read_text()
    for word in ("Loss", "Accuracy", "Reward margin", "Learning rate", "optimiser step", "chance", "eval"):
        assert f">{word}</text>" in drawing


def test_every_panel_shows_training_and_each_evaluation_set() -> None:
    lines = [training_line(1), evaluation_line(2, "eval_easy"), evaluation_line(2, "eval_hard")]
    panels = drawn(draw_curves(lines))
    assert list(panels) == ["Loss", "Accuracy", "Reward margin", "Learning rate"]
    for title in ("Loss", "Accuracy", "Reward margin"):
        assert {(point["series"], point["step"]) for point in panels[title]} == {
            ("train", 1.0),
            ("easy", 2.0),
            ("hard", 2.0),
        }
    assert [point["value"] for point in panels["Learning rate"]] == [1e-5]


def test_chance_is_drawn_at_one_half() -> None:
    specification = draw_curves([training_line(1)]).to_dict()
    accuracy = specification["vconcat"][0]["hconcat"][1]
    rules = [layer for layer in accuracy["layer"] if layer["mark"]["type"] == "rule"]
    values = [specification["datasets"][rule["data"]["name"]] for rule in rules]
    assert [[row["value"] for row in rows] for rows in values] == [[0.5]]


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    lines = [training_line(1), training_line(2, loss=math.nan), training_line(3, loss=math.inf)]
    panels = drawn(draw_curves(lines))
    assert [point["step"] for point in panels["Loss"]] == [1.0]
    assert [point["step"] for point in panels["Accuracy"]] == [1.0, 2.0, 3.0]


def test_metrics_that_were_not_logged_have_no_panel(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 1.5}, {"step": 1, "eval_loss": 1.2, "eval_num_comparisons": 0}]
    assert list(drawn(draw_curves(lines))) == ["Loss"]
    assert len(write_curves(lines, tmp_path)) == 2


def test_the_runs_summary_is_no_point() -> None:
    lines = [training_line(1), {"step": 1, "train_loss": 9.0, "train_runtime": 3.0}]
    assert [point["value"] for point in drawn(draw_curves(lines))["Loss"]] == [0.69]


def test_one_point_is_a_drawing_and_none_is_no_file(tmp_path: Path) -> None:
    assert png_size(write_curves([training_line(1)], tmp_path / "one")[0])
    for lines in ([], [{"step": 0}], [{"step": 1, "loss": math.nan}]):
        assert write_curves(lines, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("module", "package"), [("altair", "altair"), ("vl_convert", "vl-convert-python")])
def test_without_the_extra_one_log_line_says_how_to_get_it(
    module: str,
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert write_curves([training_line(1)], tmp_path) == []
    assert len(caplog.records) == 1
    assert package in caplog.text and "pip install 'plaudit[report]'" in caplog.text
