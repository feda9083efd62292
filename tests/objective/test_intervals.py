"""Intervals against SciPy, against enumeration of every resample, and against their coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from plaudit.objective.intervals import (
    bootstrap_interval,
    bootstrap_means,
    mean_estimate,
    percentile_interval,
    proportion_estimate,
    wilson_interval,
)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_interval_equals_scipy(counts: tuple[int, int], confidence: float):
    num_successes, n = counts
    ours = wilson_interval(num_successes, n, confidence)
    theirs = binomtest(num_successes, n).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_interval_equals_values_worked_by_hand():
    # n = 4, p = 1/2, z^2 = 3.8414588: centre 1/2, spread z * sqrt(1/16 + z^2/64) / (1 + z^2/4)
    # = 1.9599640 * sqrt(0.0625 + 0.0600228) / 1.9603647 = 0.3499610
    interval = wilson_interval(2, 4)
    assert interval.low == pytest.approx(0.1500390, abs=1e-6)
    assert interval.high == pytest.approx(0.8499610, abs=1e-6)


def test_wilson_interval_of_nothing_is_nan_with_a_reason():
    interval = wilson_interval(0, 0)
    assert math.isnan(interval.low) and math.isnan(interval.high)
    assert interval.reason == "no items"


def test_bootstrap_of_three_clusters_approaches_all_27_resamples():
    # Clusters (1, 3), (5), (9): sums 4, 5, 9 and sizes 2, 1, 1.
    sums, sizes = [4.0, 5.0, 9.0], [2, 1, 1]
    every = [
        sum(sums[i] for i in drawn) / sum(sizes[i] for i in drawn)
        for drawn in itertools.product(range(3), repeat=3)
    ]
    means = bootstrap_means(
        np.array([1.0, 3.0, 5.0, 9.0]), np.array([7, 7, 2, 4]), num_resamples=40_000, seed=3
    )
    values, counts = np.unique(np.round(means, 9), return_counts=True)
    expected_values, expected_counts = np.unique(np.round(every, 9), return_counts=True)
    np.testing.assert_allclose(values, expected_values)
    np.testing.assert_allclose(counts / 40_000, expected_counts / 27, atol=0.01)


def test_bootstrap_with_one_item_a_cluster_agrees_with_scipy():
    values = np.random.default_rng(1).normal(size=200)
    ours = bootstrap_interval(values, np.arange(200), num_resamples=20_000)
    theirs = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=0
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_copies_of_an_item_in_its_cluster_do_not_narrow_the_interval():
    values = np.random.default_rng(2).normal(size=30)
    once = bootstrap_interval(values, np.arange(30))
    tenfold = bootstrap_interval(np.repeat(values, 10), np.repeat(np.arange(30), 10))
    assert (once.low, once.high) == pytest.approx((tenfold.low, tenfold.high))


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says():
    # 400 simulated data sets of 60 prompts with 1 to 4 items each; prompts differ in their own mean.
    rng, covered = np.random.default_rng(4), 0
    for _ in range(400):
        clusters = np.repeat(np.arange(60), rng.integers(1, 5, size=60))
        values = rng.normal(size=60)[clusters] + 0.5 * rng.normal(size=len(clusters))
        interval = bootstrap_interval(values, clusters, num_resamples=300)
        covered += interval.low <= 0.0 <= interval.high
    assert 0.91 <= covered / 400 <= 0.98


def test_same_input_gives_the_same_interval():
    values, clusters = np.arange(20.0), np.arange(20) // 2
    assert bootstrap_interval(values, clusters) == bootstrap_interval(values, clusters)
    assert bootstrap_interval(values, clusters, seed=1) != bootstrap_interval(values, clusters)


def test_drawing_in_steps_gives_every_resample(monkeypatch: pytest.MonkeyPatch):
    values, clusters = np.arange(10.0), np.arange(10)
    whole = bootstrap_means(values, clusters, num_resamples=25)
    monkeypatch.setattr("plaudit.objective.intervals._MAX_DRAWS_AT_ONCE", 70)
    np.testing.assert_array_equal(bootstrap_means(values, clusters, num_resamples=25), whole)


@pytest.mark.parametrize(
    ("values", "clusters", "reason"),
    [
        ([], [], "no items"),
        ([1.0, 2.0], [5, 5], "one prompt"),
        ([2.0, 2.0, 2.0], [0, 1, 2], "same value"),
    ],
)
def test_too_little_data_gives_nan_with_a_reason(values: list, clusters: list, reason: str):
    interval = bootstrap_interval(np.array(values, dtype=float), np.array(clusters, dtype=int))
    assert math.isnan(interval.low) and interval.method == "none"
    assert interval.reason is not None and reason in interval.reason


def test_independent_items_get_wilsons_interval():
    estimate = proportion_estimate(np.array([1.0, 1.0, 0.0, 0.5]), np.array([3, 1, 0, 2]))
    assert (estimate.value, estimate.n, estimate.interval.method) == (0.625, 4, "wilson")
    # Successes 2.5 of 4
    assert estimate.interval.low == pytest.approx(wilson_interval(2.5, 4).low)


def test_items_that_share_a_prompt_get_the_bootstrap():
    estimate = proportion_estimate(np.array([1.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1]))
    assert (estimate.value, estimate.interval.method) == (0.75, "bootstrap over prompts")
    # Resamples of two prompts with accuracies 1/2 and 1: 0.5, 0.75, 1.
    assert (estimate.interval.low, estimate.interval.high) == (0.5, 1.0)


def test_perfect_accuracy_on_shared_prompts_keeps_an_interval_of_the_number_of_prompts():
    estimate = proportion_estimate(np.ones(12), np.repeat(np.arange(4), 3))
    theirs = binomtest(4, 4).proportion_ci(method="wilson")
    assert estimate.interval.method == "wilson over prompts"
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((theirs.low, theirs.high))
    assert estimate.n == 12


def test_mean_of_nothing_is_nan_with_a_reason():
    estimate = mean_estimate(np.array([]), np.array([], dtype=int))
    assert math.isnan(estimate.value) and estimate.n == 0 and estimate.reason == "no items"


def test_percentile_interval_takes_the_middle_95_of_100():
    interval = percentile_interval(np.arange(101.0))
    assert (interval.low, interval.high) == pytest.approx((2.5, 97.5))
