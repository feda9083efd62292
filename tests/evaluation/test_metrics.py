"""Every statistic of an evaluation worked by hand on a few comparisons; edge cases give NaN with a reason."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from plaudit.errors import PlauditError
from plaudit.evaluation.metrics import compute_metrics
from stand_ins.comparisons import rows_of, text_group


@pytest.fixture(scope="module")
def five():
    """Rewards (better, worse): 0.5 > 0.25 right; 0 < 0.25 wrong; equal; 0.75 > 0 right; a tie of the data."""
    return rows_of(
        [
            text_group("p", ["good!!", "bad!"], subset="easy"),
            text_group("q", ["good", "bad!"], subset="hard"),
            text_group("r", ["same", "as this"], subset="hard"),
            text_group("s", ["best!!!", "x"], subset="easy", margin=0.75, weight=2.0),
            text_group("t", ["one!", "two"], [], ties=[(0, 1)], subset="easy"),
        ]
    )


def test_accuracy_counts_strict_wins_over_decided_comparisons(five):
    metrics = compute_metrics(five)
    expected = binomtest(2, 4).proportion_ci(method="wilson")
    assert (metrics.accuracy.value, metrics.accuracy.n) == (0.5, 4)
    assert metrics.accuracy.interval.method == "wilson"
    assert metrics.accuracy.interval.low == pytest.approx(expected.low)
    assert metrics.accuracy.interval.high == pytest.approx(expected.high)


def test_equal_rewards_count_half_when_asked(five):
    metrics = compute_metrics(five, ties="half")
    assert metrics.accuracy.value == 2.5 / 4
    assert metrics.ties == "half"
    assert {s.name: s.accuracy.value for s in metrics.subsets} == {"easy": 1.0, "hard": 0.25}


def test_ties_of_both_kinds_are_counted(five):
    metrics = compute_metrics(five)
    assert (metrics.num_comparisons, metrics.num_data_ties, metrics.num_reward_ties) == (5, 1, 1)
    assert (metrics.reward_tie_rate.value, metrics.reward_tie_rate.n) == (0.25, 4)
    assert (metrics.num_groups, metrics.num_sequences) == (5, 10)


def test_margins_and_rewards_equal_values_worked_by_hand(five):
    metrics = compute_metrics(five)
    # Margins 0.25, -0.25, 0, 0.75
    assert metrics.mean_margin.value == pytest.approx(0.75 / 4)
    assert metrics.median_margin == pytest.approx(0.125)
    assert metrics.mean_reward_better.value == pytest.approx((0.5 + 0 + 0 + 0.75) / 4)
    assert metrics.mean_reward_worse.value == pytest.approx((0.25 + 0.25 + 0 + 0) / 4)
    rewards = [0.5, 0.25, 0.0, 0.25, 0.0, 0.0, 0.75, 0.0, 0.25, 0.0]
    assert metrics.reward_mean == pytest.approx(np.mean(rewards))
    assert metrics.reward_std == pytest.approx(np.std(rewards))


def test_log_loss_is_plain_and_training_loss_takes_margin_and_weight(five):
    metrics = compute_metrics(five)

    def loss(margin: float) -> float:
        return math.log1p(math.exp(-margin))

    assert metrics.calibration.log_loss.value == pytest.approx(
        (loss(0.25) + loss(-0.25) + loss(0.0) + loss(0.75)) / 4
    )
    assert metrics.training_loss == pytest.approx((loss(0.25) + loss(-0.25) + loss(0.0) + 2 * loss(0.0)) / 5)


def test_subsets_have_their_own_n_interval_and_ties(five):
    easy, hard = compute_metrics(five).subsets
    assert (easy.name, easy.num_comparisons, easy.num_data_ties, easy.accuracy.n) == ("easy", 3, 1, 2)
    assert (easy.accuracy.value, hard.accuracy.value) == (1.0, 0.0)
    assert (hard.name, hard.num_reward_ties, hard.mean_margin.value) == ("hard", 1, -0.125)
    expected = binomtest(2, 2).proportion_ci(method="wilson")
    assert easy.accuracy.interval.low == pytest.approx(expected.low)


def test_macro_accuracy_weighs_subsets_alike():
    # easy: 3 of 3; hard: 0 of 1. Micro 3/4, macro 1/2.
    groups = [text_group(p, ["!", "x"], subset="easy") for p in "abc"]
    metrics = compute_metrics(rows_of([*groups, text_group("d", ["x", "!"], subset="hard")]))
    assert metrics.accuracy.value == 0.75
    assert (metrics.macro_accuracy.value, metrics.macro_accuracy.n) == (0.5, 2)


def test_macro_interval_covers_the_spread_within_subsets():
    # Each subset half right over 100 prompts: standard error of the mean of two is sqrt(0.25/100/2) = 0.0354.
    groups = [
        text_group(f"{i}{s}", ["!", "x"] if i % 2 else ["x", "!"], subset=s) for i in range(100) for s in "ab"
    ]
    interval = compute_metrics(rows_of(groups)).macro_accuracy.interval
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.0354, abs=0.012)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.0354, abs=0.012)


def test_comparisons_without_a_subset_get_a_line_of_their_own():
    metrics = compute_metrics(rows_of([text_group("a", ["!", "x"], subset="s"), text_group("b", ["x", "!"])]))
    assert [(s.name, s.accuracy.value) for s in metrics.subsets] == [("s", 1.0), (None, 0.0)]


def test_data_without_subsets_have_no_subset_table():
    metrics = compute_metrics(rows_of([text_group("a", ["!", "x"])]))
    assert metrics.subsets == ()
    assert math.isnan(metrics.macro_accuracy.value) and metrics.macro_accuracy.reason is not None


def test_comparisons_that_share_a_prompt_get_a_bootstrap_interval():
    groups = [text_group(f"{i}", ["!!", "!", "x"], [(0, 1), (0, 2), (2, 1)]) for i in range(6)]
    groups.append(text_group("z", ["x", "!", "!!"], [(0, 1), (0, 2), (2, 1)]))
    accuracy = compute_metrics(rows_of(groups)).accuracy
    # 2 of 3 in six groups, 1 of 3 in the last
    assert (accuracy.value, accuracy.n) == (pytest.approx(13 / 21), 21)
    assert accuracy.interval.method == "bootstrap over prompts"


def test_groups_of_one_prompt_are_resampled_together():
    # Ten groups of one pair each, five on either prompt: as two prompts, not as ten independent pairs.
    right = [text_group("p", [f"{i}!", "x"]) for i in range(5)]
    wrong = [text_group("q", [f"{i}", "!"]) for i in range(5)]
    metrics = compute_metrics(rows_of(right + wrong))
    assert (metrics.num_groups, metrics.num_prompts) == (10, 2)
    assert metrics.accuracy.interval.method == "bootstrap over prompts"
    assert (metrics.accuracy.interval.low, metrics.accuracy.interval.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    "groups", [[], [text_group("a", ["!", "x"], [], ties=[(0, 1)])]], ids=["no rows", "ties only"]
)
def test_nothing_decided_gives_nan_with_reasons(groups: list):
    metrics = compute_metrics(rows_of(groups))
    for estimate in (metrics.accuracy, metrics.mean_margin, metrics.calibration.brier_score):
        assert math.isnan(estimate.value) and estimate.n == 0 and estimate.reason
    assert math.isnan(metrics.training_loss) and math.isnan(metrics.median_margin)
    assert metrics.num_data_ties == len(groups)


def test_one_comparison_has_an_accuracy_and_no_interval_of_its_margin():
    metrics = compute_metrics(rows_of([text_group("a", ["!", "x"])]))
    assert (metrics.accuracy.value, metrics.mean_margin.value) == (1.0, 0.25)
    assert metrics.mean_margin.interval.reason == "one prompt alone says nothing about others"


def test_unknown_tie_rule_lists_the_rules(five):
    with pytest.raises(PlauditError, match="zero, half"):
        compute_metrics(five, ties="skip")


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(5)))
def test_order_of_comparisons_moves_no_statistic(five, order: list[int]):
    whole, shuffled = compute_metrics(five), compute_metrics(five.select(np.array(order)))
    for name in ("accuracy", "mean_margin", "mean_reward_better"):
        assert getattr(shuffled, name).value == pytest.approx(getattr(whole, name).value)
    assert shuffled.training_loss == pytest.approx(whole.training_loss)


def test_swapping_better_and_worse_mirrors_the_accuracy(five):
    swapped = compute_metrics(replace(five, better=five.worse, worse=five.better))
    # Two right, one wrong, one equal: swapped one right.
    assert swapped.accuracy.value == 0.25
    assert swapped.mean_margin.value == pytest.approx(-0.75 / 4)
