"""Charts of models of which one has nothing to show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.preferences import read_preferences
from plaudit.report import ReportOptions, read_outputs, report_text
from plaudit.report.charts import report_charts
from plaudit.report.computing import explanations
from plaudit.report.contents import report_contents
from plaudit.report.drawing import inline_svg
from plaudit.tokens import LengthLimits
from stand_ins.evaluations import TextScorer, exclamations, make_records


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list:
    """One model has all pairs, three of them of equal tokens; of the other every one is over its limit."""
    base: Path = tmp_path_factory.mktemp("outputs")
    records = make_records(12)
    for record in records[:3]:
        record["rejected"] = record["chosen"] + " "
    data = base / "pairs.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    sets = [EvaluationSet(name="pairs", preferences=read_preferences(str(data), progress=False))]
    for name, limits in {"all": LengthLimits(), "none": LengthLimits(max_length=1)}.items():
        scorer = TextScorer(name, exclamations)
        evaluate_suites(scorer, sets, output_dir=base / name, limits=limits, progress=False)
    return read_outputs([base / "all", base / "none"])


def test_margins_in_tens_are_written_as_numbers_not_as_powers(outputs: list):
    contents = report_contents(outputs)
    margins = {"edges": [-10.0, 0.0, 20.0, 40.0, 60.0], "counts": [1, 2, 3, 4], "num_equal": 0}
    contents["suites"][0]["results"][0]["margins"] = margins
    drawn = next(chart for chart in report_charts(contents) if chart.title.startswith("Margins"))
    svg = inline_svg(drawn.chart, name="m", description="margins")
    assert ">20<" in svg and "e+1" not in svg


def test_a_page_is_made_where_one_of_two_models_has_no_comparison_left(outputs: list):
    page = report_text(outputs, "html", ReportOptions())
    assert "none: not defined" in page


def test_what_was_lost_is_told_from_what_counts_as_equal_rewards(outputs: list):
    contents = report_contents(outputs)
    rows = {"num_rows": 0, "num_rows_in_all": 0, "texts_left_out": False, "has_texts": True}
    rows |= {"num_texts_cut": 0, "max_characters": 9}
    facts = dict(explanations(contents, rows)["facts"]["pairs"]["all"])
    result = contents["suites"][0]["results"][0]
    num_equal = result["data"]["tokenizing"]["num_comparisons_identical"]
    assert result["metrics"]["num_comparisons"] == 12
    assert facts["comparisons read"] == "12" and facts["comparisons lost to length"] == "0"
    assert facts["comparisons of equal tokens, counted as equal rewards"] == str(num_equal)
    assert not any(name.startswith("groups dropped") for name in facts), facts
