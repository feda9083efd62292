"""What a report says in JSON and in Markdown, and what a leaderboard does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from plaudit.errors import PlauditError
from plaudit.evaluation.bestofn import expected_best_of_n
from plaudit.evaluation.suites.llmbar import LLMBar
from plaudit.plain_json import write_json
from plaudit.report import (
    ModelOutput,
    ReportOptions,
    leaderboard_contents,
    leaderboard_text,
    read_outputs,
    report_contents,
    report_text,
)
from plaudit.report.best_of_n import read_best_of_n
from plaudit.report.comparison_data import comparison_data
from plaudit.report.scores import headline_of, scores_of
from plaudit.report.tables import report_tables
from plaudit.report.text_blocks import unpack
from stand_ins.evaluations import exclamations, make_records, write_evaluation


def test_the_json_is_strict_and_has_the_documented_keys(models: list[ModelOutput]):
    values = json.loads(report_text(models, "json", ReportOptions(title="T")), parse_constant=pytest.fail)
    assert (values["schema"], values["schema_version"], values["title"]) == ("plaudit.report", 1, "T")
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    keys = {*values, *values["models"][0], *values["suites"][0], *values["suites"][0]["results"][0]}
    keys |= set(values["suites"][0]["results"][0]["scores"][0])
    assert {key for key in keys if f"`{key}`" not in page} == set()
    assert [suite["name"] for suite in values["suites"]] == ["pairs", "rewardbench", "talk"]
    assert [result["model"] for result in values["suites"][0]["results"]] == ["exclaimer", "lengthy"]


def test_the_scores_of_plain_comparisons_are_accuracy_mean_and_subsets(models: list[ModelOutput]):
    rows = models[0].suites["pairs"].rows
    scores = {score["name"]: score for score in scores_of(models[0].suites["pairs"].result)}
    right = rows.reward_better > rows.reward_worse
    assert scores["accuracy"]["value"] == pytest.approx(right.mean())
    easy = rows.subset == rows.subset_names.index("easy")
    assert (scores["easy"]["value"], scores["easy"]["num_items"]) == (pytest.approx(right[easy].mean()), 60)
    assert headline_of(models[0].suites["pairs"].result)["name"] == "accuracy"


def test_a_suite_is_known_by_the_headline_that_it_names():
    scores = [
        {
            "name": name,
            "value": value,
            "low": None,
            "high": None,
            "num_items": 4,
            "kind": "average",
            "rule": "r",
        }
        for name, value in (("micro accuracy", 0.7), ("section mean", 0.6))
    ]
    result = {"suite_scores": {"suite": "s", "headline": "section mean", "scores": scores}}
    assert headline_of(result)["value"] == 0.6


def test_margins_are_counted_on_their_side_of_zero_and_equal_rewards_apart(models: list[ModelOutput]):
    margins = report_contents(models)["suites"][0]["results"][0]["margins"]
    rows = models[0].suites["pairs"].rows
    low = np.array(margins["edges"][:-1])
    counts = np.array(margins["counts"])
    assert counts[low < 0].sum() == np.sum(rows.margin < 0)
    assert counts[low >= 0].sum() == np.sum(rows.margin > 0)
    assert margins["num_equal"] == np.sum(rows.margin == 0) > 0


def test_markdown_has_a_table_a_suite_and_no_markup_from_data(models: list[ModelOutput]):
    text = report_text(models, "markdown", ReportOptions(title="A <b> | *title*"))
    assert "## A &lt;b&gt; \\| \\*title\\*" in text
    accuracy = models[0].suites["pairs"].result["metrics"]["accuracy"]
    assert f"{accuracy['value']:.3f}" in text and "### pairs" in text and "### talk" in text
    assert "Wilson" in text and "equal rewards are wrong" in text


def test_a_best_of_n_curve_is_read_as_it_is_written(models: list[ModelOutput], tmp_path: Path):
    curve = expected_best_of_n([[0.1, 0.9, 0.5]] * 3, [[0.0, 1.0, 0.0]] * 3, [1, 3])
    file = tmp_path / "bestofn.json"
    write_json(file, {"schema": "plaudit.bestofn", "name": "S", "model": "a/b", "curve": curve})
    read = read_best_of_n(file)
    assert [(point["n"], point["picked"]["value"]) for point in read["points"]] == [
        (1, pytest.approx(1 / 3)),
        (3, 1.0),
    ]
    assert read["num_prompts"] == 3 and "majority" not in read["points"][0]
    page = report_text(models[1:], "html", ReportOptions(best_of_n=[file]))
    assert 'id="best-of-n"' in page and "S with b" in page
    file.write_text('{"points": []}')
    with pytest.raises(PlauditError, match="no best-of-n curve"):
        read_best_of_n(file)


def test_fewer_rows_are_spread_evenly_over_the_suites(models: list[ModelOutput]):
    data = comparison_data(models, max_rows=25)
    index = unpack(data.index)
    # 25 of 120 + 6 + 5: 22, and at least 1 of each.
    assert [index["suite"].count(number) for number in (0, 1, 2)] == [22, 1, 1]
    assert (data.summary["num_rows"], data.summary["num_rows_in_all"]) == (24, 131)
    everything = unpack(comparison_data(models).index)
    assert index["key"][0] == everything["key"][0] and index["key"][21] == everything["key"][119]


def test_equal_rewards_stay_equal_in_the_page(models: list[ModelOutput]):
    index = unpack(comparison_data(models).index)
    rows = models[0].suites["pairs"].rows
    better, worse = (index["rewards"][0][side][:120] for side in ("better", "worse"))
    assert [b == w for b, w in zip(better, worse, strict=True)] == rows.is_reward_tie.tolist()
    assert np.array_equal(np.array(better, dtype=np.float32), rows.reward_better)


def test_a_comparison_that_is_in_the_data_twice_is_shown_twice(tmp_path: Path):
    record = make_records(1)[0]
    models = read_outputs([write_evaluation(tmp_path / "o", {"pairs": [record, record]})])
    keys = unpack(comparison_data(models).index)["key"]
    assert keys[1] == f"{keys[0]}~2"


def test_a_comparison_in_two_suites_has_two_keys_in_the_page(tmp_path: Path):
    records = make_records(3)
    data = {"one": [records[0], *records], "other": records[:2]}
    models = read_outputs([write_evaluation(tmp_path / "o", data)])
    index = unpack(comparison_data(models).index)
    first = index["key"][0]
    assert len(set(index["key"])) == len(index["key"]) == 6
    assert [key for key in index["key"] if key.startswith(first)] == [first, f"{first}~2", f"{first}~3"]
    assert index["suite"] == [0, 0, 0, 0, 1, 1]


def test_without_stored_texts_rewards_are_shown_alone(tmp_path: Path):
    folder = write_evaluation(tmp_path / "o", {"pairs": make_records(4)}, store_texts=False)
    data = comparison_data(read_outputs([folder]))
    assert data.blocks == () and not data.summary["has_texts"]
    assert len(unpack(data.index)["key"]) == 4


def test_the_leaderboard_tells_apart_what_an_exact_test_tells_apart(tmp_path: Path):
    records = make_records(200, subsets=("all",))
    for name, reward in {
        "good": lambda text: float(text.count("!")),
        "close": lambda text: float(text.count("!")) - 0.001 * len(text),
        "bad": lambda text: -float(text.count("!")),
    }.items():
        write_evaluation(tmp_path / "runs" / name, {"pairs": records}, name=name, reward=reward)
    models = read_outputs([tmp_path / "runs"])
    contents = leaderboard_contents(models)
    by_model = {row["model"]: row["scores"]["pairs"] for row in contents["rows"]}
    right = {
        m.name: m.suites["pairs"].rows.reward_better > m.suites["pairs"].rows.reward_worse for m in models
    }
    best = max(right, key=lambda name: right[name].mean())
    assert contents["rows"][0]["model"] == best and by_model[best]["standing"] == "best"
    p = {}
    for name in set(right) - {best}:
        wins, losses = np.sum(right[best] & ~right[name]), np.sum(~right[best] & right[name])
        p[name] = binomtest(int(wins), int(wins + losses)).pvalue
    small, large = sorted(p, key=lambda name: p[name])
    # Holm: the smaller of two is doubled, the larger stays, and is no smaller than the first.
    assert by_model[small]["p_value"] == pytest.approx(min(1.0, 2 * p[small]), rel=1e-6, abs=1e-12)
    assert by_model[large]["p_value"] == pytest.approx(max(2 * p[small], p[large]), rel=1e-6)
    assert by_model["bad"]["standing"] == "behind"
    for name in p:
        assert by_model[name]["standing"] == (
            "behind" if by_model[name]["p_value"] < 0.05 else "not told apart"
        )


def test_the_mean_rank_is_over_the_suites_that_all_have(models: list[ModelOutput]):
    contents = json.loads(leaderboard_text(models, "json"))
    assert (contents["schema"], contents["schema_version"]) == ("plaudit.leaderboard", 1)
    assert contents["suites"] == ["pairs", "rewardbench", "talk"] and contents["suites_of_mean_rank"] == [
        "pairs"
    ]
    ranks = {row["model"]: row["mean_rank"] for row in contents["rows"]}
    values = {m.name: m.suites["pairs"].result["metrics"]["accuracy"]["value"] for m in models}
    assert ranks[max(values, key=lambda name: values[name])] == 1.0


def test_a_folder_without_results_is_named(tmp_path: Path):
    with pytest.raises(PlauditError, match="no results of an evaluation"):
        read_outputs([tmp_path])
    with pytest.raises(PlauditError, match="no such folder"):
        read_outputs([tmp_path / "nowhere"])


def test_wrong_options_are_named(models: list[ModelOutput]):
    for options, said in (
        (ReportOptions(max_rows=-1), "--max-rows"),
        (ReportOptions(max_characters=0), "--max-char"),
    ):
        with pytest.raises(PlauditError) as error:
            report_text(models, "html", options)
        assert said in str(error.value)


PARTIAL = "over 2 of 4 sections: without Chat Hard, Safety"


def test_what_is_missing_from_the_data_is_said_in_every_format(models: list[ModelOutput]):
    for kind in ("markdown", "html"):
        for text in (report_text(models, kind, ReportOptions()), leaderboard_text(models, kind)):
            assert PARTIAL in text
            assert text.count("3 of 100 of alpacaeval-easy") >= 2, "of each of both models"
    rows = json.loads(leaderboard_text(models, "json"))["rows"]
    assert all(row["scores"]["rewardbench"]["note"].startswith(PARTIAL) for row in rows)
    assert all(row["scores"]["pairs"]["note"] is None for row in rows)


def llmbar_rows(counts: dict[str, int]) -> list[dict[str, str]]:
    subsets = [subset for subset, count in counts.items() for _ in range(count)]
    pairs = make_records(len(subsets), seed=2)
    return [pair | {"subset": subset} for pair, subset in zip(pairs, subsets, strict=True)]


def test_a_run_on_a_part_of_a_suite_has_no_mean_rank_and_is_not_its_best(tmp_path: Path):
    whole = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}
    for name, counts, sign in (("whole", whole, 1), ("other", whole, -1), ("part", {"Natural": 100}, 2)):
        write_evaluation(
            tmp_path / name,
            {"llmbar": llmbar_rows(counts), "pairs": make_records(8)},
            name=name,
            reward=lambda text, sign=sign: sign * exclamations(text),
            suites={"llmbar": LLMBar()},
        )
    contents = leaderboard_contents(read_outputs([tmp_path]))
    rows = {row["model"]: row for row in contents["rows"]}
    assert rows["part"]["mean_rank"] is None and rows["part"]["scores"]["llmbar"]["standing"] == "partial"
    assert contents["rows"][-1]["model"] == "part"
    assert contents["suites_of_mean_rank"] == ["llmbar", "pairs"]
    assert rows["whole"]["mean_rank"] == 1.0 and rows["other"]["mean_rank"] == 2.0
    assert rows["whole"]["scores"]["llmbar"]["standing"] == "best"


def test_a_set_with_a_dot_in_its_name_is_on_the_leaderboard(tmp_path: Path):
    folder = write_evaluation(tmp_path / "o", {"held.out": make_records(4), "items": make_records(3)})
    page = leaderboard_text(read_outputs([folder]), "html")
    assert "<dt>held.out</dt><dd>accuracy</dd>" in page and "<dt>items</dt><dd>accuracy</dd>" in page


def test_accuracy_at_equal_style_stands_beside_the_accuracy(models: list[ModelOutput]):
    text = report_text(models, "markdown", ReportOptions())
    style = models[0].suites["pairs"].result["metrics"]["style"]
    for name, key in (
        ("accuracy at equal length, matched", "matched"),
        ("accuracy at equal style, regression", "controlled"),
    ):
        line = next(line for line in text.splitlines() if name in line)
        assert f"{style[key]['value']:.3f}" in line and f"n = {style[key]['n']}" in line


def test_a_score_on_a_part_is_marked_and_not_the_highest_of_its_row():
    def result(model: str, value: float, note: str | None) -> dict[str, object]:
        score = {"name": "a", "kind": "average", "value": value, "num_items": 3, "interval": "none"}
        score |= {"low": None, "high": None, "note": note, "rule": "r"}
        return {"model": model, "headline": score, "scores": [score], "metrics": {}}

    suite = {"name": "s", "results": [result("part", 0.9, "without b"), result("whole", 0.5, None)]}
    tables = report_tables({"models": [{"name": "part"}, {"name": "whole"}], "suites": [suite]})
    ((_, _, cells),) = tables["headline"].rows
    assert [(cell.is_best, cell.note) for cell in cells] == [(False, "without b"), (True, "")]
