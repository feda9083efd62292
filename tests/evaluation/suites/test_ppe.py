"""PPE against brute force over all subsets, and scikit-learn's area under the ROC curve."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from plaudit.evaluation.suites import SUITES, ScoredItem
from plaudit.evaluation.suites.ppe import best_of_curve
from stand_ins.suite_items import item

SUITE = SUITES["ppe"]


def sampled(rewards: list[float], right: list[bool], subset: str = "MATH") -> ScoredItem:
    return item(rewards, is_correct=right, ratings=[float(r) for r in right], subset=subset)


def brute_force(rewards: list[float], right: list[bool], n: int) -> float:
    """The mean over all subsets of n of the chance that a pick among its highest rewards is right."""
    chances = []
    for chosen in itertools.combinations(range(len(rewards)), n):
        top = max(rewards[i] for i in chosen)
        best = [i for i in chosen if rewards[i] == top]
        chances.append(sum(right[i] for i in best) / len(best))
    return sum(chances) / len(chances)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=6))
def test_the_curve_equals_brute_force_over_all_subsets(answers: list[tuple[int, bool]]):
    rewards, right = [float(r) for r, _ in answers], [b for _, b in answers]
    expected = [brute_force(rewards, right, n) for n in range(1, len(answers) + 1)]
    assert best_of_curve(sampled(rewards, right)).tolist() == pytest.approx(expected)


def test_scores_are_means_over_prompts_and_then_over_benchmarks():
    random = np.random.default_rng(0)
    prompts = {
        name: [
            (random.normal(size=8).round(1).tolist(), [True, False, *(random.random(6) < 0.4).tolist()])
            for _ in range(num)
        ]
        for name, num in (("MATH", 5), ("GPQA", 3))
    }
    items = [sampled(*prompt, subset=name) for name, of in prompts.items() for prompt in of]
    scores = SUITE.score(items)
    best, area, auc = {}, {}, {}
    for name, of in prompts.items():
        curves = [[brute_force(*prompt, n) for n in range(1, 9)] for prompt in of]
        best[name] = np.mean([curve[-1] for curve in curves])
        area[name] = np.mean(curves)
        auc[name] = np.mean([roc_auc_score(right, rewards) for rewards, right in of])
        assert scores[name].value == pytest.approx(best[name])
        assert scores[f"{name} area"].value == pytest.approx(area[name])
        assert scores[f"{name} ROC AUC"].value == pytest.approx(auc[name])
    assert scores.headline_score.value == pytest.approx(np.mean(list(best.values())))
    assert scores["area"].value == pytest.approx(np.mean(list(area.values())))
    assert scores["ROC AUC"].value == pytest.approx(np.mean(list(auc.values())))
    assert scores["best of 1"].value == pytest.approx(scores["random"].value)
    assert scores["best of 8"].value == pytest.approx(scores["best of K"].value)
    assert "over 2 of 5 benchmarks" in (scores["best of K"].note or "")


def test_accuracy_counts_equal_rewards_by_the_rule():
    items = [sampled([1.0, 1.0, 0.0], [True, False, False])]
    assert SUITE.score(items)["MATH accuracy"].value == 0.5
    assert SUITE.score(items, ties="half")["MATH accuracy"].value == 0.75


def test_a_prompt_all_right_or_all_wrong_needs_no_reward():
    nothing = [math.nan] * 3
    items = [
        sampled(nothing, [True] * 3),
        sampled(nothing, [False] * 3),
        sampled([2.0, 1.0, 0.0], [True, False, False]),
    ]
    scores = SUITE.score(items)
    assert scores["MATH"].value == pytest.approx(2 / 3) and scores["MATH"].num_items == 3
    assert scores["MATH accuracy"].value == 1.0 and scores["MATH accuracy"].num_items == 1
    assert scores["items not scored"].value == 0.0
