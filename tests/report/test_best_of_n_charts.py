"""What the charts of best of n show and say, read from the drawing's own values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plaudit.evaluation.bestofn_result import measure_best_of_n
from plaudit.evaluation.samples import read_samples
from plaudit.report.best_of_n import read_best_of_n
from plaudit.report.best_of_n_charts import best_of_n_charts


def charts_of(folder: Path, rewards: Any, quality: Any) -> list[Any]:
    """The charts of what `plaudit bestofn` stores of these rewards."""
    file = folder / "samples.jsonl"
    records = [
        {"prompt": f"p{i}", "samples": [f"{k}" for k in range(len(row))], "quality": list(row)}
        for i, row in enumerate(quality)
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    given = [np.asarray(row, dtype=np.float64) for row in rewards]
    measure_best_of_n(read_samples(file), given, model="m").save(folder)
    return list(best_of_n_charts(read_best_of_n(folder / "bestofn.json"), 1))


def lines_of(chart: Any) -> list[str]:
    """What is told apart by colour, in its order."""
    drawn = chart.chart.to_dict()["datasets"].values()
    return list(dict.fromkeys(value["which"] for values in drawn for value in values))


def test_levels_that_look_alike_are_lines_of_their_own(tmp_path: Path):
    rewards = np.random.default_rng(0).random((40, 4))
    # Mean qualities of 0.500 to 0.504: the same in two digits.
    quality = np.array([[0, 0, 1, 1 + i * 1e-4] for i in range(40)], dtype=float)
    _, chart = charts_of(tmp_path, rewards, quality)
    assert lines_of(chart) == [f"{number}: 0.50 to 0.50" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("num_prompts", "rewards", "said"),
    [
        (20, [1.0, 0.0], "changes by -0.500 (-0.500 to -0.500): more than chance explains."),
        (1, [1.0, 0.0], "changes by -0.500; so few prompts give no interval."),
        (20, [1.0, 1.0], "is the same at the largest n, 2, as at n = 1: no over-optimisation is seen."),
        (20, [0.0, 1.0], "is highest at the largest n, 2: no over-optimisation is seen."),
    ],
)
def test_the_caption_says_what_the_curve_does(
    tmp_path: Path, num_prompts: int, rewards: list[float], said: str
):
    chart, *_ = charts_of(tmp_path, [rewards] * num_prompts, [[0.0, 1.0]] * num_prompts)
    assert chart.caption.endswith(said)
