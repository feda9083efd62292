"""Paired tests and intervals against statsmodels, SciPy and brute force; coverage by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from plaudit.evaluation.significance import (
    MCNEMAR,
    SIGN_FLIPS,
    SMALLEST_P,
    exact_mcnemar,
    holm,
    paired_difference,
    paired_test,
    sign_flip_test,
)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (1, 5), (3, 3), (40, 71), (0, 900), (30_000, 30_500)])
def test_mcnemar_equals_statsmodels_and_scipy(b: int, c: int):
    ours = exact_mcnemar(b, c)
    if b + c == 0:
        assert ours == 1.0
        return
    assert ours == pytest.approx(mcnemar([[7, b], [c, 9]], exact=True).pvalue, rel=1e-9)
    assert ours == pytest.approx(binomtest(b, b + c).pvalue, rel=1e-9)


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=9))
def test_sign_flip_test_equals_all_sign_patterns(halves: list[int]):
    sums = np.array(halves) / 2
    totals = [abs(float(np.dot(signs, sums))) for signs in itertools.product((-1, 1), repeat=len(halves))]
    expected = np.mean([total >= abs(sums.sum()) - 1e-9 for total in totals])
    assert sign_flip_test(sums) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_sign_flips_of_single_comparisons_are_mcnemar(b: int, c: int, num_equal: int):
    sums = np.array([1.0] * c + [-1.0] * b + [0.0] * num_equal)
    assert sign_flip_test(sums) == pytest.approx(exact_mcnemar(b, c), rel=1e-12)


def test_test_that_fits_is_chosen_by_shared_prompts():
    first, second = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0, 1.0])
    alone = paired_test(first, second, np.array([5, 6, 7, 8]))
    assert (alone.method, alone.p_value, alone.num_differing) == (MCNEMAR, 0.625, 4)
    # Prompts 5 and 6 have sums -1 + 1 = 0 and 2: only the sign of the 2 can turn.
    shared = paired_test(first, second, np.array([5, 5, 6, 6]))
    assert (shared.method, shared.p_value, shared.num_differing) == (SIGN_FLIPS, 1.0, 1)


def test_mcnemar_is_named_only_where_all_differences_are_of_one_size():
    prompts = np.arange(4)
    nothing, halves, mixed = np.zeros(4), np.array([0.5, 0.5, 0.5, 0.0]), np.array([1.0, 0.5, 0.5, 0.5])
    assert paired_test(nothing, nothing, prompts).method == MCNEMAR
    alike = paired_test(nothing, halves, prompts)
    assert (alike.method, alike.p_value) == (MCNEMAR, pytest.approx(binomtest(0, 3).pvalue))
    # Signs of 1, 1/2, 1/2 and -1/2: totals as far from 0 as 3/2 are 5/2 (once), 3/2 (3 times), and their opposites.
    sizes = paired_test(np.array([0.0, 0.0, 0.0, 1.0]), mixed, prompts)
    assert (sizes.method, sizes.p_value, sizes.num_differing) == (SIGN_FLIPS, pytest.approx(8 / 16), 4)


def test_copies_of_comparisons_under_their_prompt_add_no_evidence():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, 60).astype(float), rng.integers(0, 2, 60).astype(float)
    prompts = np.arange(60)
    once = paired_test(first, second, prompts)
    nine = paired_test(np.repeat(first, 9), np.repeat(second, 9), np.repeat(prompts, 9))
    assert nine.p_value == pytest.approx(once.p_value, rel=1e-9)


def test_interval_equals_scipy_with_the_two_added_prompts():
    rng = np.random.default_rng(1)
    first, second = (rng.random(300) < 0.7).astype(float), (rng.random(300) < 0.78).astype(float)
    ours = paired_difference(first, second, np.arange(300), num_resamples=20_000)
    padded = np.concatenate([second - first, [1.0, -1.0]])
    theirs = bootstrap(
        (padded,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == pytest.approx(second.mean() - first.mean())
    # Monte Carlo error of an end is about 1% of the width (0.14 here).
    assert ours.interval.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.interval.high == pytest.approx(theirs.high, abs=0.004)


def test_interval_over_prompts_equals_scipy_over_prompt_sums():
    rng = np.random.default_rng(3)
    difference = rng.choice([-1.0, 0.0, 1.0], size=(120, 4), p=[0.2, 0.5, 0.3])
    net = difference.sum(axis=1)
    win = np.sqrt(np.mean(net[net != 0] ** 2))
    ours = paired_difference(
        np.zeros(480), difference.ravel(), np.repeat(np.arange(120), 4), num_resamples=20_000
    )
    theirs = bootstrap(
        (np.append(net, [win, -win]) / 4,), np.mean, n_resamples=20_000, method="percentile",
        rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    assert ours.interval.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.interval.high == pytest.approx(theirs.high, abs=0.004)


REPETITIONS = 600
"""The share of 600 is within 0.03 of 0.95 unless coverage itself is off: its standard error is 0.009."""


def coverage(draw, truth: float, prompts: np.ndarray, seed: int, repetitions: int = REPETITIONS) -> float:
    rng = np.random.default_rng(seed)
    hits = 0
    for repetition in range(repetitions):
        first, second = draw(rng)
        found = paired_difference(first, second, prompts, num_resamples=400, seed=repetition).interval
        hits += found.low <= truth <= found.high
    return hits / repetitions


@pytest.mark.parametrize(
    ("n", "both", "only_first", "only_second"),
    # The last two have ten comparisons that are decided differently, on average: the fewest for which it holds.
    [
        (200, 0.6, 0.10, 0.12),
        (400, 0.7, 0.05, 0.05),
        (100, 0.5, 0.1, 0.25),
        (100, 0.8, 0.05, 0.05),
        (28, 0.5, 0.1, 0.25),
    ],
)
def test_interval_covers_the_true_difference_in_95_of_100(
    n: int, both: float, only_first: float, only_second: float
):
    neither = 1 - both - only_first - only_second

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        kind = rng.choice(4, size=n, p=[both, only_first, only_second, neither])
        return np.isin(kind, [0, 1]).astype(float), np.isin(kind, [0, 2]).astype(float)

    assert coverage(draw, only_second - only_first, np.arange(n), seed=0) == pytest.approx(0.95, abs=0.03)


def test_interval_covers_the_true_difference_where_comparisons_share_prompts():
    prompts = np.repeat(np.arange(150), 6)

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        # Each prompt has a difficulty of its own for each model: half of all variance is the prompt's.
        hard = rng.beta(2.0, 1.0, size=150), rng.beta(2.4, 1.0, size=150)
        first, second = ((rng.random(900) < np.repeat(h, 6)).astype(float) for h in hard)
        return first, second

    truth = 2.4 / 3.4 - 2.0 / 3.0
    assert coverage(draw, truth, prompts, seed=1) == pytest.approx(0.95, abs=0.03)
    # As single comparisons the interval would be far too narrow: the prompts matter.
    assert coverage(draw, truth, np.arange(900), seed=1, repetitions=100) < 0.85


def test_interval_does_not_fall_short_in_small_subsets():
    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        kind = rng.choice(3, size=46, p=[0.94, 0.01, 0.05])
        return (kind != 2).astype(float), (kind != 1).astype(float)

    # The plain percentile bootstrap covers 0.89 here.
    assert coverage(draw, 0.04, np.arange(46), seed=2) >= 0.95 - 0.03


def test_interval_is_too_wide_and_never_too_narrow_where_hardly_anything_differs():
    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        kind = rng.choice(3, size=20, p=[0.9, 0.05, 0.05])
        return (kind != 2).astype(float), (kind != 1).astype(float)

    assert coverage(draw, 0.0, np.arange(20), seed=4) >= 0.98


def test_equal_models_are_called_different_in_at_most_5_of_100():
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(REPETITIONS):
        hard = rng.beta(2.0, 1.0, size=80)
        first, second = ((rng.random(480) < np.repeat(hard, 6)).astype(float) for _ in range(2))
        alarms += paired_test(first, second, np.repeat(np.arange(80), 6)).p_value < 0.05
    assert alarms / REPETITIONS <= 0.05 + 0.02


def test_models_that_agree_everywhere_have_an_interval_around_zero():
    same = np.ones(50)
    found = paired_difference(same, same, np.arange(50))
    assert found.value == 0.0
    assert -0.1 < found.interval.low < 0 < found.interval.high < 0.1
    assert paired_test(same, same, np.arange(50)).p_value == 1.0


@pytest.mark.parametrize("num", [1, 2, 5, 23])
def test_holm_equals_statsmodels(num: int):
    p_values = np.random.default_rng(num).integers(0, 100, size=num) / 400
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)


def test_holm_leaves_out_what_was_not_tested():
    np.testing.assert_allclose(holm([0.02, np.nan, 0.03]), [0.04, np.nan, 0.04])
    assert len(holm([])) == 0


def test_no_comparison_at_all_is_no_test_and_takes_nothing_from_the_others():
    nothing = paired_test(np.array([]), np.array([]), np.array([], dtype=np.int64))
    assert np.isnan(nothing.p_value) and nothing.num_differing == 0
    np.testing.assert_allclose(holm([nothing.p_value, 0.04]), [np.nan, 0.04])


def exact_p(halves: np.ndarray) -> float:
    """The share of sign patterns in whole numbers of any size: no rounding."""
    largest = int(np.abs(halves).sum())
    counts = 1  # of totals, shifted by `largest`, each in a field of `width` bits
    width = len(halves) + 1
    for half in np.abs(halves).tolist():
        counts += counts << (2 * half * width)
    mask, far = (1 << width) - 1, abs(int(halves.sum()))
    extreme = sum(
        counts >> (position * width) & mask
        for position in range(2 * largest + 1)
        if abs(position - largest) >= far
    )
    return extreme / (1 << len(halves))


@pytest.mark.parametrize("lean", [0.55, 0.7, 0.85])
def test_small_p_of_many_prompts_is_right_down_to_the_floor(lean: float):
    rng = np.random.default_rng(8)
    halves = rng.integers(1, 9, size=260) * np.where(rng.random(260) < lean, 1, -1)
    expected = exact_p(halves)
    assert sign_flip_test(halves / 2) == pytest.approx(max(expected, SMALLEST_P), rel=1e-9, abs=SMALLEST_P)
