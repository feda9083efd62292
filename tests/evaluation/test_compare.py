"""Stored evaluations of made-up models against each other; every figure worked by hand or from SciPy."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from plaudit.errors import PlauditError
from plaudit.evaluation.compare import compare_evaluations
from plaudit.evaluation.compare_text import comparison_values, sentence, subsets_sentence
from plaudit.evaluation.comparison import ModelComparison
from plaudit.evaluation.folder import Evaluation, read_evaluation
from plaudit.evaluation.result import RESULTS_SCHEMA_VERSION
from plaudit.evaluation.shared_rows import most_different
from plaudit.evaluation.storage import write_rows
from plaudit.plain_json import as_plain
from plaudit.preferences.group import PreferenceGroup
from stand_ins.comparisons import rows_of, text_group


def stored(
    folder: Path,
    model: str,
    groups: Sequence[PreferenceGroup],
    margins: Sequence[float],
    suite: str = "made",
    **result: Any,
) -> Evaluation:
    """An evaluation's folder in which the model's margins are these."""
    rows = rows_of(groups)
    rewards = np.zeros(len(rows.sequence_reward), dtype=np.float32)
    rewards[rows.better] = margins
    rows = replace(rows, sequence_reward=rewards)
    folder.mkdir(parents=True)
    write_rows(folder / "rows.parquet", rows, list(groups))
    values = {
        "schema": "plaudit.evaluation",
        "schema_version": RESULTS_SCHEMA_VERSION,
        "name": suite,
        "model": model,
        **result,
    }
    (folder / "results.json").write_text(json.dumps(values))
    return read_evaluation(folder)


def pairs(num: int, subsets: Sequence[str | None] = (None,)) -> list[PreferenceGroup]:
    return [
        text_group(
            f"p{i}", [f"b{i}", f"w{i}"], subset=subsets[i % len(subsets)], source=f"made.jsonl:{i + 1}"
        )
        for i in range(num)
    ]


@pytest.fixture
def two(tmp_path: Path) -> ModelComparison:
    """20 rows in two subsets: A alone is right in row 0, B alone in rows 1, 3, 5, 7, 9, 11; the rest both."""
    a = [1.0 if i == 0 or i > 11 or i % 2 == 0 else -1.0 for i in range(20)]
    b = [-2.0 if i == 0 else 2.0 for i in range(20)]
    groups = pairs(20, ["even", "odd"])
    return compare_evaluations(
        [stored(tmp_path / "a", "A", groups, a), stored(tmp_path / "b", "B", groups, b)]
    )


def test_counts_accuracies_and_p_equal_values_worked_by_hand(two: ModelComparison):
    (whole,) = two.suites[0].whole
    assert (whole.num_only_first, whole.num_only_second, whole.difference.n) == (1, 6, 20)
    assert (whole.accuracy_first, whole.accuracy_second) == (14 / 20, 19 / 20)
    assert whole.difference.value == pytest.approx(0.25)
    assert whole.p_value == pytest.approx(binomtest(1, 7).pvalue)
    assert whole.test == "exact McNemar"
    assert whole.same_choice == 13 / 20


def test_subsets_are_compared_with_holm_over_them_alone(two: ModelComparison):
    even, odd = two.suites[0].subsets
    assert (even.subset, even.num_only_first, even.num_only_second) == ("even", 1, 0)
    assert (odd.subset, odd.num_only_first, odd.num_only_second) == ("odd", 0, 6)
    assert odd.p_value == pytest.approx(2 / 2**6)
    # Two tests: the smaller p doubles; the larger, 1, stays.
    assert (odd.adjusted_p, even.adjusted_p) == (pytest.approx(4 / 2**6), 1.0)
    assert two.suites[0].whole[0].adjusted_p == two.suites[0].whole[0].p_value


def both_suites(folder: Path, model: str, one: Evaluation, other: Evaluation) -> Evaluation:
    return Evaluation(folder=folder, model=model, summary={}, suites={**one.suites, **other.suites})


def test_subsets_of_all_suites_are_one_family_and_the_whole_suites_another(tmp_path: Path):
    groups = pairs(16, ["even", "odd"])

    def evaluation(model: str, losses: dict[str, tuple[int, int]]) -> Evaluation:
        """A model that is wrong in so many rows of the even and the odd subset of each suite."""
        one, other = (
            stored(
                tmp_path / model / suite,
                model,
                groups,
                [-1.0 if i // 2 < wrong[i % 2] else 1.0 for i in range(16)],
                suite=suite,
            )
            for suite, wrong in losses.items()
        )
        return both_suites(tmp_path / model, model, one, other)

    worse = evaluation("worse", {"x": (8, 7), "y": (6, 5)})
    right = evaluation("right", {"x": (0, 0), "y": (0, 0)})
    x, y = compare_evaluations([worse, right]).suites
    # One side wins all, so p is 2 / 2^wins: of 8, 7, 6 and 5 wins in the subsets, of 15 and 11 in the whole suites.
    assert [d.p_value for d in (*x.subsets, *y.subsets)] == pytest.approx([2 / 256, 2 / 128, 2 / 64, 2 / 32])
    assert [d.adjusted_p for d in (*x.subsets, *y.subsets)] == pytest.approx(
        [8 / 256, 6 / 128, 4 / 64, 4 / 64]
    )
    assert (x.whole[0].adjusted_p, y.whole[0].adjusted_p) == pytest.approx((4 / 2**15, 2 / 2**11))


def headline_of(name: str, value: float, ties: str = "zero") -> dict[str, Any]:
    score = {"name": name, "value": value, "num_items": 3, "kind": "average", "rule": "a rule"}
    scores = {"suite": "judgebench", "headline": name, "scores": [score]}
    return {"suite_scores": scores, "metrics": {"ties": ties}}


def test_headlines_stand_side_by_side_where_they_are_one_score_by_one_tie_rule(tmp_path: Path):
    gpt, also, half, claude = (
        stored(tmp_path / name, name, pairs(3), [1.0] * 3, **headline)
        for name, headline in {
            "gpt": headline_of("gpt", 0.5),
            "also": headline_of("gpt", 0.25),
            "half": headline_of("gpt", 0.75, ties="half"),
            "claude": headline_of("claude", 0.9),
        }.items()
    )
    (suite,) = compare_evaluations([gpt, also]).suites
    assert (suite.headline, suite.headline_values) == ("gpt", (0.5, 0.25))
    for other in (half, claude):
        (suite,) = compare_evaluations([gpt, other]).suites
        assert (suite.headline, suite.headline_values) == (None, ())


def test_rows_that_are_not_shared_are_counted_and_named(tmp_path: Path):
    groups = pairs(6)
    a = stored(tmp_path / "a", "A", groups[:5], [1.0] * 5)
    b = stored(tmp_path / "b", "B", [groups[5], *groups[3::-1]], [1.0] * 5)
    suite = compare_evaluations([a, b]).suites[0]
    assert len(suite.shared) == 4
    assert [(n.model, n.num, n.sources) for n in suite.not_shared] == [
        ("A", 1, ("made.jsonl:5",)),
        ("B", 1, ("made.jsonl:6",)),
    ]


def test_rows_are_matched_by_their_text_whatever_their_order(tmp_path: Path):
    groups = pairs(12)
    margins = np.linspace(-1, 1, 12)
    order = np.random.default_rng(0).permutation(12)
    a = stored(tmp_path / "a", "A", groups, margins.tolist())
    b = stored(tmp_path / "b", "B", [groups[i] for i in order], margins[order].tolist())
    (whole,) = compare_evaluations([a, b]).suites[0].whole
    assert (whole.num_only_first, whole.num_only_second, whole.same_choice) == (0, 0, 1.0)
    assert whole.agreement == pytest.approx(1.0)


def test_a_comparison_that_is_there_twice_is_matched_twice(tmp_path: Path):
    groups = [*pairs(2), *pairs(2)]
    a = stored(tmp_path / "a", "A", groups, [1.0] * 4)
    b = stored(tmp_path / "b", "B", groups, [1.0] * 4)
    assert len(compare_evaluations([a, b]).suites[0].shared) == 4


def test_comparisons_of_one_prompt_are_one_draw(tmp_path: Path):
    # Four prompts with five comparisons each: B is right in all five of three of them, A in all of the fourth.
    groups = [
        text_group(f"p{p}", ["b", *(f"w{k}" for k in range(5))], [(0, k) for k in range(1, 6)])
        for p in range(4)
    ]
    rows = rows_of(groups)
    margins = np.where(rows.prompt == 3, -1.0, 1.0)
    a = stored(tmp_path / "a", "A", groups, (-margins).tolist())
    b = stored(tmp_path / "b", "B", groups, margins.tolist())
    (whole,) = compare_evaluations([a, b]).suites[0].whole
    assert (whole.test, whole.num_prompts, whole.difference.n) == ("exact sign flips of prompts", 4, 20)
    # Of 16 sign patterns all but the 6 with two of each have a total as large: 10 / 16.
    assert whole.p_value == pytest.approx(10 / 16)


def test_ties_of_the_data_are_counted_and_in_no_accuracy(tmp_path: Path):
    groups = [*pairs(3), text_group("tie", ["x", "y"], [], ties=[(0, 1)])]
    a = stored(tmp_path / "a", "A", groups, [1.0] * 4)
    b = stored(tmp_path / "b", "B", groups, [1.0, -1.0, 1.0, -1.0])
    suite = compare_evaluations([a, b]).suites[0]
    assert (suite.num_data_ties, suite.whole[0].difference.n, len(suite.shared)) == (1, 3, 4)


@pytest.mark.parametrize("tie_first", [True, False])
def test_a_tie_in_the_data_of_one_model_is_in_no_accuracy_of_either(tmp_path: Path, tie_first: bool):
    tie, decided = text_group("p", ["x", "y"], [], ties=[(0, 1)]), text_group("p", ["x", "y"])
    a = stored(tmp_path / "a", "A", [*pairs(2), tie], [1.0] * 3)
    b = stored(tmp_path / "b", "B", [*pairs(2), decided], [1.0, 1.0, -1.0])
    (suite,) = compare_evaluations([a, b] if tie_first else [b, a]).suites
    assert (len(suite.shared), suite.num_data_ties, suite.whole[0].difference.n) == (3, 1, 2)
    assert "p" not in [row.prompt for row in most_different(suite.shared, 3)]


def test_equal_rewards_count_as_the_rule_says(tmp_path: Path):
    groups = pairs(4)
    a = stored(tmp_path / "a", "A", groups, [0.0, 0.0, 1.0, 1.0])
    b = stored(tmp_path / "b", "B", groups, [1.0] * 4)
    assert compare_evaluations([a, b]).suites[0].whole[0].accuracy_first == 0.5
    assert compare_evaluations([a, b], ties="half").suites[0].whole[0].accuracy_first == 0.75


def test_three_models_are_compared_in_pairs_with_one_correction(tmp_path: Path):
    groups = pairs(30)
    evaluations = [
        stored(tmp_path / name, name, groups, [1.0] * num + [-1.0] * (30 - num))
        for name, num in (("A", 30), ("B", 24), ("C", 20))
    ]
    whole = compare_evaluations(evaluations).suites[0].whole
    assert [(d.first, d.second) for d in whole] == [("A", "B"), ("A", "C"), ("B", "C")]
    # p of 6, 10 and 4 wins of one side: 2 / 2^6, 2 / 2^10, 2 / 2^4.
    assert [d.p_value for d in whole] == pytest.approx([2 / 64, 2 / 1024, 2 / 16])
    assert [d.adjusted_p for d in whole] == pytest.approx([4 / 64, 6 / 1024, 2 / 16])


def test_rows_that_differ_most_come_first_in_units_of_each_model(tmp_path: Path):
    groups = pairs(4)
    # B's margins are a hundred times A's. Row 2: opposite signs; row 1: far apart with the same sign.
    a = stored(tmp_path / "a", "A", groups, [1.0, 0.1, 1.0, 1.0])
    b = stored(tmp_path / "b", "B", groups, [100.0, 200.0, -100.0, 100.0])
    rows = most_different(compare_evaluations([a, b]).suites[0].shared, 2)
    assert [row.source for row in rows] == ["made.jsonl:3", "made.jsonl:2"]
    assert (rows[0].margins, rows[0].text_better, rows[0].prompt) == ((1.0, -100.0), "b2", "p2")


def test_sentences_say_what_was_found(two: ModelComparison, tmp_path: Path):
    (whole,) = two.suites[0].whole
    assert sentence(whole).startswith("made: no difference between A and B is shown")
    assert "+25.0 points" in sentence(whole)
    better = replace(whole, adjusted_p=0.01)
    assert sentence(better).startswith(
        "made: B is right more often than A: 95.0% against 70.0% of 20 comparisons"
    )
    said = subsets_sentence(two.suites[0])
    assert said == "made: 0 of 2 subsets differ after correction."
    same = stored(tmp_path / "same", "C", pairs(9), [1.0] * 9)
    again = stored(tmp_path / "again", "D", pairs(9), [2.0] * 9)
    assert "get the same of 9 comparisons right" in sentence(
        compare_evaluations([same, again]).suites[0].whole[0]
    )


def test_values_are_strict_json_with_the_rows_that_differ_most(two: ModelComparison):
    values = as_plain(comparison_values(two, num_rows=3))
    text = json.dumps(values, allow_nan=False)
    back = json.loads(text)
    assert (back["schema"], back["schema_version"], back["models"]) == ("plaudit.comparison", 1, ["A", "B"])
    assert len(back["suites"][0]["most_different"]) == 3
    assert back["suites"][0]["whole"][0]["difference"]["interval"]["low"] is not None


def test_suites_of_one_model_are_named(tmp_path: Path):
    a = stored(tmp_path / "a", "A", pairs(3), [1.0] * 3)
    b = stored(tmp_path / "b", "B", pairs(3), [1.0] * 3, suite="other")
    with pytest.raises(PlauditError, match="no suite in common"):
        compare_evaluations([a, b])


def test_the_same_name_twice_is_told_apart_by_folder(tmp_path: Path):
    a = stored(tmp_path / "seed-0", "model", pairs(3), [1.0] * 3)
    b = stored(tmp_path / "seed-1", "model", pairs(3), [1.0] * 3)
    assert compare_evaluations([a, b]).models == (str(tmp_path / "seed-0"), str(tmp_path / "seed-1"))


def test_a_model_called_as_the_folder_of_another_is_told_apart_too(tmp_path: Path):
    a = stored(tmp_path / "a", "model", pairs(3), [1.0] * 3)
    b = stored(tmp_path / "b", "model", pairs(3), [1.0] * 3)
    c = stored(tmp_path / "c", str(tmp_path / "a"), pairs(3), [-1.0] * 3)
    assert len(set(compare_evaluations([a, b, c]).models)) == 3


def test_what_cannot_be_compared_says_why(tmp_path: Path):
    a = stored(tmp_path / "a", "A", pairs(3), [1.0] * 3)
    b = stored(tmp_path / "b", "B", [text_group("else", ["x", "y"])], [1.0])
    with pytest.raises(PlauditError, match="one evaluation alone"):
        compare_evaluations([a])
    with pytest.raises(PlauditError, match="named twice"):
        compare_evaluations([a, a])
    with pytest.raises(PlauditError, match="no comparison of 'made'"):
        compare_evaluations([a, b])


def test_only_ties_in_common_is_not_a_number(tmp_path: Path):
    groups = [text_group("tie", ["x", "y"], [], ties=[(0, 1)])]
    a = stored(tmp_path / "a", "A", groups, [1.0])
    b = stored(tmp_path / "b", "B", groups, [-1.0])
    (whole,) = compare_evaluations([a, b]).suites[0].whole
    assert math.isnan(whole.accuracy_first) and whole.difference.n == 0
    assert "share no comparison" in sentence(whole)
