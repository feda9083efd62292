"""Over-optimisation is seen where it is, and not where it is not; difficulty cuts where it should."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from plaudit.errors import PlauditError
from plaudit.evaluation.bestofn import quality_by_n
from plaudit.evaluation.overoptimisation import curves_by_difficulty, measure_overoptimisation

N_VALUES = [1, 2, 4, 8, 16]


def test_a_reward_that_loves_the_worst_extreme_is_over_optimised():
    # Reward rises with x; quality does so up to 0.97 and then collapses.
    x = np.random.default_rng(0).random((200, 16))
    found = measure_overoptimisation(x, np.where(x > 0.97, -1.0, x), N_VALUES)
    assert found.best_n in (2, 4) and found.is_shown
    assert found.low < found.change < found.high < 0
    assert (found.largest_n, found.num_prompts) == (16, 200)


def test_a_reward_that_is_the_quality_is_not():
    x = np.random.default_rng(1).random((50, 16))
    found = measure_overoptimisation(x, x, N_VALUES)
    assert (found.best_n, found.change, found.is_shown) == (16, 0.0, False)


def test_noise_is_called_over_optimisation_in_at_most_5_of_100():
    # Rewards without a bearing on quality: every n is as good as any other, and some n is always the best.
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        rewards, quality = rng.random((30, 4)), rng.random((30, 4))
        alarms += measure_overoptimisation(rewards, quality, [1, 2, 4], num_resamples=200).is_shown
    # One side of a joint two-sided interval: 2.5 of 100, and 3 standard errors of 100 repetitions.
    assert alarms / 100 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 100)


def test_interval_is_as_wide_as_the_largest_of_correlated_normals_asks_for():
    x = np.random.default_rng(0).random((200, 16))
    quality = np.where(x > 0.97, -1.0, x)
    found = measure_overoptimisation(x, quality, N_VALUES, num_resamples=4000)
    # Without a bootstrap: the mean changes are close to normal with the covariance of the prompts' changes.
    curves = quality_by_n(x, quality, N_VALUES)
    covariance = np.cov((curves[:, -1:] - curves[:, :-1]).T) / 200
    error = np.sqrt(np.diag(covariance))
    normal = np.random.default_rng(1).multivariate_normal(np.zeros(4), covariance, size=100_000)
    factor = np.quantile(np.abs(normal / error).max(axis=1), 0.95)
    half_width = factor * error[N_VALUES.index(found.best_n)]
    assert found.high - found.change == pytest.approx(half_width, rel=0.06)
    assert found.change - found.low == pytest.approx(half_width, rel=0.06)


@pytest.mark.parametrize(("num_prompts", "is_shown"), [(200, True), (6, True), (5, False), (1, False)])
def test_a_fall_that_all_prompts_have_is_shown_unless_few_would_all_fall_by_chance(
    num_prompts: int, is_shown: bool
):
    # The reward picks the wrong one of a right and a wrong sample: 0.5 at n = 1 and 0 at n = 2. That all of 5 prompts
    # go one way has a chance of 2 / 2^5 = 0.0625, of 6 0.03125.
    found = measure_overoptimisation([[1.0, 0.0]] * num_prompts, [[0.0, 1.0]] * num_prompts, [1, 2])
    assert (found.best_n, found.change, found.is_shown) == (1, -0.5, is_shown)
    expected = (-0.5, -0.5) if is_shown else (np.nan, np.nan)
    np.testing.assert_array_equal((found.low, found.high), expected)


def test_a_flat_curve_changes_by_exactly_nothing():
    # Sums of chances times 0.1, which float64 does not hold: they differ in the last digit from n to n.
    rewards = np.random.default_rng(3).random((40, 7))
    found = measure_overoptimisation(rewards, np.full((40, 7), 0.1), [1, 2, 4, 7])
    assert (found.change, found.is_shown) == (0.0, False)
    # From n = 1 to n = 2 by 0.1, 0.2 and -0.3, whose sum in float64 is 5.6e-17.
    found = measure_overoptimisation([[1.0, 0.0]] * 3, [[0.2, 0.0], [0.4, 0.0], [0.0, 0.6]], [1, 2])
    assert (found.best_n, found.change, found.is_shown) == (1, 0.0, False)


def test_records_of_one_prompt_are_drawn_together():
    x = np.random.default_rng(0).random((30, 16))
    quality = np.where(x > 0.97, -1.0, x)
    once = measure_overoptimisation(x, quality, N_VALUES)
    clusters = np.repeat(np.arange(30), 10)
    many = measure_overoptimisation(
        np.repeat(x, 10, axis=0), np.repeat(quality, 10, axis=0), N_VALUES, clusters=clusters
    )
    assert (many.low, many.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert many.num_prompts == once.num_prompts == 30
    (level,) = curves_by_difficulty(
        [[0.0, 1.0]] * 4, [[0, 1]] * 4, [2], num_levels=2, clusters=np.zeros(4, int)
    )
    assert level.curve.num_distinct_prompts == 1
    with pytest.raises(PlauditError, match="2 clusters of 30 prompts"):
        measure_overoptimisation(x, quality, N_VALUES, clusters=np.arange(2))


def test_change_is_measured_on_prompts_with_samples_for_every_n():
    found = measure_overoptimisation([[1.0, 0.0], [1.0]], [[0.0, 1.0], [9.0]], [1, 2])
    assert (found.num_prompts, found.best_n, found.change) == (1, 1, -0.5)
    assert np.isnan(found.high) and not found.is_shown
    nobody = measure_overoptimisation([[1.0, 2.0], [1.0]], [[1.0, 2.0], [1.0]], [2])
    assert nobody.num_prompts == 1


def test_quality_by_n_is_nan_where_samples_are_too_few():
    values = quality_by_n([[0.0, 1.0], [5.0]], [[0.0, 1.0], [2.0]], [1, 2])
    np.testing.assert_array_equal(values, [[0.5, 1.0], [2.0, np.nan]])


def test_levels_hold_prompts_by_mean_quality_hardest_first():
    quality = [[0, 0], [0, 1], [1, 1], [0, 0], [1, 0], [1, 1]]
    levels = curves_by_difficulty([[0.0, 1.0]] * 6, quality, [1, 2], num_levels=3)
    assert [(level.low, level.high, level.curve.num_prompts) for level in levels] == [
        (0.0, 0.0, 2),
        (0.5, 0.5, 2),
        (1.0, 1.0, 2),
    ]
    # The second sample is picked of two: quality 1 and 0 of the middle prompts.
    assert levels[1].curve.points[1].picked.value == pytest.approx(0.5)


def test_prompts_of_equal_quality_are_not_split_and_all_are_in_a_level():
    rng = np.random.default_rng(2)
    quality = rng.integers(0, 2, size=(101, 4)).astype(float)
    levels = curves_by_difficulty(rng.random((101, 4)), quality, [1, 4], num_levels=4)
    assert sum(level.curve.num_prompts for level in levels) == 101
    assert all(a.high < b.low for a, b in pairwise(levels))
