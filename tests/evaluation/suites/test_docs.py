"""The page on suites names them all, and its example of a new one runs as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from plaudit.evaluation.suites import SUITES
from stand_ins.suite_items import items_from_groups

PAGE = (Path(__file__).parents[3] / "docs" / "suites.md").read_text()
TABLE = {
    cells[1].strip().strip("`"): [cell.strip() for cell in cells[2:-1]]
    for cells in (line.split("|") for line in PAGE.splitlines() if line.startswith("| `"))
}


def test_every_suite_is_in_the_table_with_its_hub_id_columns_and_headline():
    assert list(TABLE) == list(SUITES)
    for name, (hub, _, columns, headline) in TABLE.items():
        suite = SUITES[name]
        parts = suite.parts  # pyright: ignore[reportAttributeAccessIssue]
        assert not parts or any(part.hub_id in hub for part in parts)
        assert all(column in columns for column in suite.columns)  # pyright: ignore[reportAttributeAccessIssue]
        assert headline == f"`{suite.score([]).headline}`"


def test_the_example_of_a_new_suite_passes_its_own_test(tmp_path: Path):
    suite, test = re.findall(r"```python\n(.*?)```", PAGE.split("## Adding a suite")[1], flags=re.DOTALL)
    names: dict[str, object] = {"json": json, "items_from_groups": items_from_groups}
    exec(suite + test, names)
    (run,) = [value for name, value in names.items() if name.startswith("test_")]
    run(tmp_path)  # pyright: ignore[reportCallIssue]
