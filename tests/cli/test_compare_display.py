"""The comparison's table on a terminal of 100 columns."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from plaudit.cli.compare_display import print_comparison
from plaudit.evaluation.compare import compare_evaluations
from plaudit.evaluation.folder import read_evaluation
from stand_ins.evaluations import exclamations, make_records, write_evaluation


def test_headings_and_numbers_are_whole_at_100_columns(tmp_path: Path):
    for name, sign in {"my-model-a": 1, "my-model-b": -1}.items():
        write_evaluation(
            tmp_path / name,
            {"pairs": make_records(60)},
            name=name,
            reward=lambda text, sign=sign: sign * exclamations(text),
        )
    found = compare_evaluations([read_evaluation(tmp_path / name) for name in ("my-model-a", "my-model-b")])
    file = io.StringIO()
    print_comparison(Console(file=file, width=100), found, num_rows=0)
    lines = file.getvalue().splitlines()
    heading = next(line for line in lines if "difference" in line and "subset" in line)
    for name in ("my-model-a", "my-model-b", "95% interval", "right alone", "adj. p"):
        assert name in heading, heading
    assert sum(line.startswith("│ ") for line in lines) == 3, "a line for all and for each of two subsets"
