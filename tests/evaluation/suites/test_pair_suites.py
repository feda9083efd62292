"""JudgeBench, RMB, prior sets, UFB, LLMBar and any preference data: each rule against a plain count."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from plaudit.errors import PlauditError
from plaudit.evaluation.suites import SUITES, PreferenceData, ScoredItem
from plaudit.preferences import Comparison, read_preferences
from stand_ins.suite_items import item, items_from_groups, pair, pairs_with


def test_judgebench_prints_equal_rewards_by_both_rules():
    # Three ties: two whose label is B>A, which the leaderboard's code gives away, and one whose label is A>B.
    items = [
        item([1.0, 1.0], is_correct=[False, True], subset="gpt/math"),
        item([3.0, 3.0], is_correct=[False, True], subset="gpt/math"),
        item([1.0, 1.0], is_correct=[True, False], subset="gpt/math"),
        item([2.0, 1.0], is_correct=[True, False], subset="gpt/coding"),
        item([2.0, 1.0], is_correct=[False, True], subset="gpt/coding"),
    ]
    scores = SUITES["judgebench"].score(items)
    assert scores["gpt"].value == 1 / 5 and scores["gpt, leaderboard's rule"].value == 3 / 5
    assert SUITES["judgebench"].score(items, ties="half")["gpt"].value == 2.5 / 5
    assert SUITES["judgebench"].score(items, ties="half")["gpt, leaderboard's rule"].value == 3 / 5


def test_judgebench_is_micro_over_the_pairs_of_a_split():
    items = pairs_with(3, 3, "gpt/knowledge") + pairs_with(0, 1, "gpt/math") + pairs_with(1, 2, "claude/math")
    scores = SUITES["judgebench"].score(items)
    assert (scores["gpt"].value, scores["claude"].value) == (0.75, 0.5)
    assert scores["gpt"].value == scores["gpt, leaderboard's rule"].value
    assert scores.headline == "gpt" and scores["gpt"].note == "4 of 350 of gpt"


def test_judgebench_names_its_headline_after_the_split():
    suite = SUITES["judgebench"]
    claude = pairs_with(1, 2, "claude/math")
    assert suite.score(claude).headline == "claude"
    assert suite.score(claude + pairs_with(1, 1, "gpt/math")).headline == "gpt"
    assert suite.score(pairs_with(1, 1, "pairs/math")).headline == "pairs"
    # A category that the leaderboard does not have sorts behind all others, and its split does not.
    assert suite.score(claude + pairs_with(1, 1, "gpt/language")).headline == "gpt"


def test_judgebench_does_not_take_another_split_where_nothing_of_gpt_was_scored():
    scores = SUITES["judgebench"].score(
        [pair(math.nan, math.nan, "gpt/math"), *pairs_with(1, 2, "claude/math")]
    )
    assert scores.headline == "gpt" and math.isnan(scores.headline_score.value)
    assert scores.headline_score.note == "without gpt" and scores["claude"].value == 0.5


@pytest.mark.parametrize(
    ("rewards", "zero", "half"),
    [([3, 1, 2], 1, 1), ([3, 1, 4], 0, 0), ([3, 3, 1], 0, 0.5), ([3, 3, 4], 0, 0), ([3, 3, 3], 0, 0.5)],
)
def test_an_rmb_list_counts_when_the_best_answer_beats_every_loser(
    rewards: list[float], zero: float, half: float
):
    items = [item(rewards, subset="Helpfulness, best-of-n/Chat")]
    assert SUITES["rmb"].score(items)["Helpfulness, best-of-n"].value == zero
    assert SUITES["rmb"].score(items, ties="half")["Helpfulness, best-of-n"].value == half


def test_rmb_overall_is_the_plain_mean_of_goals_and_forms():
    items = pairs_with(1, 4, "Helpfulness, pairwise/Chat") + pairs_with(2, 2, "Harmlessness, pairwise/S1")
    items += [item([2, 1, 0], subset="Helpfulness, best-of-n/Chat")]
    items += [
        item([0, 1, 0], subset="Harmlessness, best-of-n/S1"),
        item([5, 1], subset="Harmlessness, best-of-n/S2"),
    ]
    scores = SUITES["rmb"].score(items)
    assert (
        scores["overall"].value == pytest.approx((0.25 + 1.0 + 1.0 + 0.5) / 4)
        and scores["overall"].note is None
    )
    without = SUITES["rmb"].score(items[:6])
    assert without["overall"].value == pytest.approx((0.25 + 1.0) / 2)
    assert "without Helpfulness, best-of-n, Harmlessness, best-of-n" in (without["overall"].note or "")


def test_prior_mean_is_over_four_of_the_seven_sets():
    right = {"anthropic_helpful": 1, "anthropic_hhh": 2, "shp": 3, "summarize": 4, "mtbench_gpt4": 10}
    items = [i for name, n in right.items() for i in pairs_with(n, 10, name)]
    scores = SUITES["prior-sets"].score(items)
    assert scores.headline_score.value == pytest.approx((0.1 + 0.2 + 0.3 + 0.4) / 4)
    assert scores["micro accuracy"].value == pytest.approx(20 / 50)


def test_ufb_counts_pairs_that_the_data_rate_alike():
    items = [pair(2, 1, ratings=[7.0, 7.0]), pair(1, 2, ratings=[8.0, 2.0]), pair(1, 0, ratings=[8.0, 2.0])]
    scores = SUITES["ufb"].score(items)
    assert scores["accuracy"].value == pytest.approx(2 / 3)
    assert scores["pairs with equal scores"].value == 1.0


def test_llmbar_has_the_mean_of_the_adversarial_sets_and_the_micro_accuracy():
    right = {
        "Natural": (90, 100),
        "Neighbor": (67, 134),
        "GPTInst": (23, 92),
        "GPTOut": (47, 47),
        "Manual": (0, 46),
    }
    items = [i for name, (n, num) in right.items() for i in pairs_with(n, num, name)]
    scores = SUITES["llmbar"].score(items)
    assert scores["Adversarial"].value == pytest.approx((0.5 + 0.25 + 1 + 0) / 4)
    assert scores["mean of sets"].value == pytest.approx((0.9 + 0.5 + 0.25 + 1 + 0) / 5)
    assert scores["accuracy"].value == pytest.approx((90 + 67 + 23 + 47) / 419)
    assert not any(score.note for score in scores.scores)


@pytest.mark.parametrize(
    ("suite", "own", "average"),
    [
        ("rewardbench", "hep-go", "micro accuracy"),
        ("rewardbench", "hep-go", "section mean"),
        ("prior-sets", "shp", "micro accuracy"),
        ("prior-sets", "shp", "prior mean"),
        ("rewardbench2", "Math", "mean of subsets"),
        ("rm-bench", "math", "overall"),
        ("llmbar", "Natural", "accuracy"),
        ("llmbar", "Natural", "mean of sets"),
        ("ppe", "MATH", "best of K"),
        ("ppe", "MATH", "ROC AUC"),
    ],
)
def test_a_subset_that_the_benchmark_does_not_have_is_shown_and_in_no_average(
    suite: str, own: str, average: str
):
    def prompts(subset: str, is_right: bool) -> list[ScoredItem]:
        pairs = [(i, j) for i in range(3) for j in range(3, 6)]
        rewards = [1.0] * 3 + [0.0] * 3 if is_right else [0.0] * 3 + [1.0] * 3
        return [item(rewards, 3, subset=subset, comparisons=pairs, ratings=[1.0] * 3 + [0.0] * 3)] * 2

    scores = SUITES[suite].score([*prompts(own, True), *prompts("strange", False)])
    assert scores[average].value == 1.0
    assert scores["strange"].value == 0.0 and "in no" in (scores["strange"].note or "")


def test_llmbar_reads_the_real_file_by_its_own_names_of_subsets(shared_data: Path):
    suite = SUITES["llmbar"]
    scores = suite.score(items_from_groups(list(suite.read(str(shared_data / "llmbar"), progress=False))))
    assert not any(score.note for score in scores.scores)
    assert scores["accuracy"].num_items == 419


def test_preference_data_count_every_comparison_once_and_leave_out_ties_of_the_data():
    records = [
        {"prompt": "a", "completions": ["xxxx", "xx", "xx", "x"], "ratings": [1, 3, 2, 2], "subset": "s"},
        {"prompt": "b", "chosen": "xxx", "rejected": "x", "subset": "t"},
    ]
    groups = list(read_preferences([{**records[0], "completions": ["xxxx", "xx", "yyy", "z"]}, records[1]]))
    scores = PreferenceData("mine").score(items_from_groups(groups))
    # Of the first: xx > xxxx wrong, yyy > xxxx wrong, z > xxxx wrong, xx > yyy wrong, xx > z right, yyy = z a tie.
    assert (scores["s"].value, scores["t"].value) == (0.2, 1.0)
    assert scores["accuracy"].value == pytest.approx(2 / 6) and scores["accuracy"].num_items == 6
    assert scores["mean over subsets"].value == pytest.approx(0.6)
    assert scores["ties in the data"].value == 1.0
    assert scores.suite == "mine"


def test_preference_data_need_a_source():
    with pytest.raises(PlauditError, match="--data PATH"):
        PreferenceData().read()


def test_comparisons_of_one_prompt_widen_the_interval():
    alone = [pair(float(i % 2), 0.5) for i in range(200)]
    rewards = [1.0, *[0.5 if i % 2 else 1.5 for i in range(10)]]
    several = [
        item(np.array(rewards) * (1 if g % 2 else -1), comparisons=[(0, k) for k in range(1, 11)], prompt=g)
        for g in range(20)
    ]
    independent, clustered = (PreferenceData().score(items)["accuracy"] for items in (alone, several))
    assert independent.interval == "wilson" and clustered.interval != "wilson"
    assert Comparison(better=0, worse=1) in several[0].comparisons
