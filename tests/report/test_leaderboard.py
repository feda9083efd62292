"""Which results a leaderboard ranks against each other, and what it says of the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.evaluation.suites.rewardbench import RewardBench
from plaudit.preferences import read_preferences
from plaudit.report import ModelOutput, leaderboard_contents, leaderboard_text, read_outputs
from plaudit.report.comparable import comparable_results
from plaudit.report.tables import report_tables
from plaudit.tokens import LengthLimits
from stand_ins.evaluations import TextScorer, exclamations, make_records, write_evaluation


def standings(contents: Mapping[str, Any], suite: str = "pairs") -> dict[str, Any]:
    return {row["model"]: row["scores"][suite] for row in contents["rows"]}


@pytest.fixture(scope="module")
def settings_apart(tmp_path_factory: pytest.TempPathFactory) -> list[ModelOutput]:
    """The same 40 pairs under three models: two differ in a setting from ``whole``, and look better for it."""
    base = tmp_path_factory.mktemp("runs")
    records = make_records(40, subsets=("all",))
    for record in records[:10]:
        record["chosen"] = "sea " * 100  # no exclamation mark: wrong or equal, and over the limit of one run
    data = base / "pairs.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    sets = [EvaluationSet(name="pairs", preferences=read_preferences(str(data), progress=False))]
    for name, settings in {
        "whole": {},
        "cut": {"limits": LengthLimits(max_length=300)},
        "half": {"ties": "half"},
    }.items():
        scorer = TextScorer(name, exclamations)
        evaluate_suites(scorer, sets, output_dir=base / name, progress=False, **settings)
    return read_outputs([base])


def test_a_model_that_lost_rows_to_the_length_limit_is_marked_and_not_ranked(
    settings_apart: list[ModelOutput],
):
    contents = leaderboard_contents([m for m in settings_apart if m.name in ("whole", "cut")])
    found = standings(contents)
    assert found["cut"]["value"] > found["whole"]["value"]
    assert found["whole"]["standing"] == "best" and found["whole"]["note"] is None
    assert found["cut"]["standing"] == "partial"
    assert "10 of 40 comparisons were over the length limit" in found["cut"]["note"]
    assert {row["model"]: row["mean_rank"] for row in contents["rows"]} == {"whole": 1.0, "cut": None}


def test_another_rule_for_equal_rewards_is_not_ranked_beside_the_benchmarks(
    settings_apart: list[ModelOutput],
):
    contents = leaderboard_contents([m for m in settings_apart if m.name in ("whole", "half")])
    found = standings(contents)
    assert found["half"]["value"] > found["whole"]["value"]
    assert (found["whole"]["standing"], found["half"]["standing"]) == ("best", "partial")
    assert found["half"]["note"] == "equal rewards count half, for the others zero"


def test_other_data_of_the_same_name_are_marked_and_the_larger_set_is_ranked(tmp_path: Path):
    records = make_records(30)
    for name, data in {"few": records[:5], "all": records, "all-2": records, "other": records[::-1]}.items():
        write_evaluation(tmp_path / name, {"pairs": data}, name=name)
    found = standings(leaderboard_contents(read_outputs([tmp_path])))
    assert [found[name]["note"] for name in ("all", "all-2")] == [None, None]
    assert found["few"]["note"] == "5 comparisons, the others have 30"
    assert "other data" in found["other"]["note"]
    assert [found[name]["standing"] for name in ("few", "other")] == ["partial", "partial"]


def result(name: str, num: int, **changes: Any) -> dict[str, Any]:
    score = {"name": name, "value": 0.5, "low": None, "high": None, "num_items": num, "kind": "average"}
    score |= {"rule": "r", "note": None}
    lost = {
        "name": "items not scored",
        "value": changes.pop("num_lost", 0),
        "num_items": num,
        "kind": "diagnostic",
    }
    return {
        "suite_scores": {"headline": name, "scores": [score, lost]},
        "metrics": {"ties": "zero", "num_comparisons": num},
        "data": {"fingerprint": "f", "tokenizing": None},
    } | changes


def test_two_benchmarks_in_one_column_are_not_ranked_against_each_other():
    found = comparable_results({"a": result("gpt", 350), "b": result("claude", 270), "c": result("gpt", 350)})
    assert found.models == ("a", "c")
    assert str(found.notes["b"]).startswith("its score is claude, that of the others gpt")


def test_items_that_a_server_did_not_score_are_a_part_of_the_suite_lost():
    found = comparable_results({"a": result("overall", 90, num_lost=30), "b": result("overall", 90)})
    assert found.models == ("b",) and found.notes["a"] == "30 of 90 items were not scored"


def test_where_nobody_is_whole_those_on_the_same_data_are_ranked():
    lossy = {"a": 30, "b": 30, "c": 20}
    found = comparable_results({m: result("overall", n, num_lost=3) for m, n in lossy.items()})
    assert found.models == ("a", "b") and all(found.notes.values())


def test_every_result_that_is_listed_with_a_dagger_has_one_in_its_cell(tmp_path: Path):
    records = make_records(6, subsets=("alpacaeval-easy", "hep-go"))
    for name, sign in {"up": 1, "down": -1}.items():
        write_evaluation(
            tmp_path / name,
            {"rewardbench": records},
            name=name,
            reward=lambda text, sign=sign: sign * exclamations(text),
            suites={"rewardbench": RewardBench()},
        )
    models = read_outputs([tmp_path])
    text = leaderboard_text(models, "markdown")
    cells = [line for line in text.splitlines() if line.startswith(("| up", "| down"))]
    assert text.count("- † ") == 2 and all("†" in line for line in cells), text
    assert "best" in {
        score["standing"] for score in standings(leaderboard_contents(models), "rewardbench").values()
    }
    assert leaderboard_text(models, "html").count(">†</abbr>") == 2


def test_a_headline_table_has_a_line_for_each_score_that_a_suite_is_known_by():
    def of(model: str, headline: str, values: dict[str, float]) -> dict[str, Any]:
        scores = [
            {
                "name": name,
                "kind": "average",
                "value": value,
                "low": None,
                "high": None,
                "num_items": 3,
                "rule": "r",
            }
            for name, value in values.items()
        ]
        known = next(score for score in scores if score["name"] == headline)
        return {"model": model, "headline": known, "scores": scores, "metrics": {}}

    results = [of("a", "gpt", {"gpt": 0.6}), of("b", "claude", {"claude": 0.9})]
    results.append(of("c", "gpt", {"gpt": 0.5, "claude": 0.7}))
    suite = {"name": "judgebench", "results": results}
    table = report_tables({"models": [{"name": name} for name in "abc"], "suites": [suite]})["headline"]
    assert [(kind, *(cell and cell.value for cell in cells)) for _, kind, cells in table.rows] == [
        ("gpt", "0.600", None, "0.500"),
        ("claude", None, "0.900", "0.700"),
    ]
    assert [[cell is not None and cell.is_best for cell in cells] for _, _, cells in table.rows] == [
        [True, False, False],
        [False, True, False],
    ]


def test_a_model_that_two_folders_hold_is_in_one_row_and_the_other_folder_is_named(tmp_path: Path):
    records = make_records(8)
    for folder, data in {"r": records, "r/again": records, "more": records}.items():
        sets = {"pairs": data} | ({"extra": make_records(4, seed=3)} if folder == "more" else {})
        write_evaluation(tmp_path / folder, sets, name="m")
        summary = json.loads((tmp_path / folder / "results.json").read_text())
        (tmp_path / folder / "results.json").write_text(json.dumps(summary | {"model_fingerprint": "f"}))
    models = read_outputs([tmp_path])
    contents = leaderboard_contents(models)
    assert [(row["model"], sorted(row["scores"])) for row in contents["rows"]] == [("m", ["extra", "pairs"])]
    folders = [str(tmp_path / "r"), str(tmp_path / "r" / "again")]
    assert [repeat["folder"] for repeat in contents["repeats"]] == folders
    for kind in ("html", "markdown"):
        assert leaderboard_text(models, kind).count("in the table already") == 2
