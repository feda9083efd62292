"""Length baselines worked by hand; correlations against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr

from plaudit.evaluation.length import average_ranks, measure_length_bias, pearson
from plaudit.evaluation.metrics import correctness_of
from stand_ins.comparisons import rows_of, text_group


def bias_of(groups: list):
    rows = rows_of(groups)
    decided = rows.select(rows.is_decided)
    return measure_length_bias(decided, correctness_of(decided, ties="zero"))


def test_baselines_equal_values_worked_by_hand():
    # Better longer and right; better longer and wrong; better shorter and right; equally long.
    bias = bias_of(
        [
            text_group("a", ["long !!", "short"]),
            text_group("b", ["longer here", "sho!"]),
            text_group("c", ["ab!", "abcdef"]),
            text_group("d", ["ab!", "abc"]),
        ]
    )
    assert bias.longer_baseline.value == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert bias.shorter_baseline.value == pytest.approx(1 - 2.5 / 4)
    assert (bias.accuracy_better_longer.value, bias.accuracy_better_longer.n) == (0.5, 2)
    assert (bias.accuracy_better_shorter.value, bias.accuracy_better_shorter.n) == (1.0, 1)
    assert bias.num_equal_length == 1
    assert bias.longer_baseline.n == 4


def test_characters_are_counted_not_bytes():
    # Three characters against five; in UTF-8 bytes it would be nine against five.
    assert bias_of([text_group("a", ["日本語", "abcde"])]).longer_baseline.value == 0.0


def test_no_comparison_of_a_kind_says_so():
    bias = bias_of([text_group("a", ["longer", "short"])])
    assert math.isnan(bias.accuracy_better_shorter.value)
    assert bias.accuracy_better_shorter.reason == "no comparison whose better completion is shorter"


def test_correlations_run_over_distinct_sequences_in_completion_tokens():
    # Completions of 1, 3 and 6 bytes + end of sequence: 2, 4, 7 tokens; rewards 0.25, 0.5, 0.
    # The prompts differ in length, which must not matter.
    bias = bias_of(
        [
            text_group("a long prompt", ["!", "abcdef"]),
            text_group("b", ["a!!", "xyzabc"]),
            text_group("b", ["a!!", "xyzabc"]),
        ]
    )
    lengths, rewards = [2, 7, 4, 7], [0.25, 0.0, 0.5, 0.0]
    assert bias.pearson.value == pytest.approx(pearsonr(lengths, rewards).statistic)
    assert bias.spearman.value == pytest.approx(spearmanr(lengths, rewards).statistic)
    assert bias.pearson.n == 4


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 9)), min_size=3, max_size=50))
def test_correlations_equal_scipy(pairs: list[tuple[int, int]]):
    x, y = np.array([float(a) for a, _ in pairs]), np.array([b for _, b in pairs])
    ours, ranked = pearson(x, y), pearson(average_ranks(x), average_ranks(y))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert math.isnan(ours.value) and math.isnan(ranked.value)
        return
    assert ours.value == pytest.approx(pearsonr(x, y).statistic, abs=1e-12)
    assert ranked.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


@given(st.lists(st.integers(-3, 3), max_size=30))
def test_average_ranks_equal_scipy(values: list[int]):
    array = np.array(values, dtype=np.int64)
    np.testing.assert_array_equal(average_ranks(array), rankdata(array) - 1)


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([1.0], [2.0], "fewer than two sequences"),
        ([1.0, 1.0], [2.0, 3.0], "all rewards are equal"),
        ([1.0, 2.0], [3.0, 3.0], "all lengths are equal"),
    ],
)
def test_undefined_correlation_says_why(x: list, y: list, reason: str):
    correlation = pearson(np.array(x), np.array(y))
    assert math.isnan(correlation.value)
    assert correlation.reason == reason
