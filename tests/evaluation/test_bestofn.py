"""Best of n against brute force over every subset, and against values worked by hand."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.evaluation.bestofn import best_of_n_kl, expected_best_of_n, expected_quality


def brute_force(rewards: list[float], quality: list[float], n: int) -> float:
    """Mean quality of the pick over every subset, equal rewards sharing the pick."""
    total, subsets = Fraction(0), list(itertools.combinations(range(len(rewards)), n))
    for subset in subsets:
        best = max(rewards[i] for i in subset)
        picked = [Fraction(quality[i]) for i in subset if rewards[i] == best]
        total += sum(picked) / len(picked)
    return float(total / len(subsets))


# Few distinct rewards, so that most examples have ties.
samples = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.integers(0, 5)), min_size=1, max_size=7
)


@given(samples, st.data())
def test_expected_quality_equals_brute_force_over_all_subsets(pairs: list, data: st.DataObject):
    n = data.draw(st.integers(1, len(pairs)))
    rewards, quality = [r for r, _ in pairs], [float(q) for _, q in pairs]
    ours = expected_quality(np.array(rewards), np.array(quality), n)
    assert ours == pytest.approx(brute_force(rewards, quality, n), abs=1e-12)


@given(samples, st.data())
def test_pick_lies_between_worst_and_oracle(pairs: list, data: st.DataObject):
    n = data.draw(st.integers(1, len(pairs)))
    rewards, quality = [r for r, _ in pairs], [float(q) for _, q in pairs]
    point = expected_best_of_n([rewards], [quality], [n]).points[0]
    assert min(quality) - 1e-12 <= point.picked.value <= point.oracle.value + 1e-12


def test_points_equal_values_worked_by_hand():
    # Prompt 0: best reward is wrong. Of the three pairs, {0.9, 0.1} and {0.9, 0.5} pick quality 0 and
    # {0.1, 0.5} picks quality 1: 1/3. Prompt 1: both rewards equal, quality 1 and 0: 1/2.
    curve = expected_best_of_n([[0.9, 0.1, 0.5], [2.0, 2.0]], [[0, 1, 1], [1, 0]], [1, 2])
    one, two = curve.points
    assert one.picked.value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert two.picked.value == pytest.approx((1 / 3 + 1 / 2) / 2)
    # Oracle of two: every pair of prompt 0 holds a right answer; the pair of prompt 1 too.
    assert two.oracle.value == pytest.approx(1.0)
    assert two.random.value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (curve.num_prompts, curve.min_samples, two.picked.n) == (2, 2, 2)


def test_prompt_with_too_few_samples_leaves_the_point_and_shows_in_its_n():
    curve = expected_best_of_n([[1.0, 0.0, 2.0], [1.0]], [[0, 0, 1], [1]], [3])
    assert curve.points[0].picked.n == 1
    assert curve.points[0].picked.value == 1.0
    assert curve.points[0].random.value == pytest.approx(1 / 3)


def test_best_of_one_is_the_random_pick():
    rng = np.random.default_rng(0)
    point = expected_best_of_n(rng.normal(size=(5, 9)), rng.normal(size=(5, 9)), [1]).points[0]
    assert point.picked.value == pytest.approx(point.random.value)
    assert point.oracle.value == pytest.approx(point.random.value)


def test_reward_that_is_the_quality_picks_like_the_oracle():
    quality = np.random.default_rng(1).normal(size=(4, 8))
    for point in expected_best_of_n(quality * 3 + 1, quality, [1, 3, 8]).points:
        assert point.picked.value == pytest.approx(point.oracle.value)


def test_hundreds_of_samples_stay_exact():
    # Quality is the rank 1..400 and so is the reward: the highest of n is n (N + 1) / (n + 1) on average.
    ranks = np.arange(1.0, 401.0)
    for n in (1, 7, 200, 400):
        assert expected_quality(ranks, ranks, n) == pytest.approx(n * 401 / (n + 1), rel=1e-12)


def test_a_prompt_given_twenty_times_narrows_no_interval():
    rng = np.random.default_rng(0)
    rewards, quality = rng.random((10, 4)), rng.integers(0, 2, (10, 4)).astype(float)
    answers = [["a", "a", "b", None]] * 10
    # A prompt with fewer samples leaves the point of n = 4; the clusters of the others stay theirs.
    short = ([[1.0, 0.0]], [[0.0, 1.0]], [["a", "b"]])
    once = expected_best_of_n(
        [*short[0], *rewards], [*short[1], *quality], [4], answers=[*short[2], *answers]
    )
    often = expected_best_of_n(
        [*short[0], *np.repeat(rewards, 20, axis=0)],
        [*short[1], *np.repeat(quality, 20, axis=0)],
        [4],
        answers=[*short[2], *(answers * 20)],
        clusters=np.concatenate([[99], np.repeat(np.arange(10), 20)]),
    )
    assert (often.num_prompts, often.num_distinct_prompts, once.num_distinct_prompts) == (201, 11, 11)
    for pick in ("picked", "oracle", "random", "majority"):
        few, many = (getattr(curve.points[0], pick).interval for curve in (once, often))
        np.testing.assert_allclose((many.low, many.high), (few.low, few.high))
        assert many.method == few.method


def test_kl_is_log_n_less_n_minus_1_over_n():
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)
    assert expected_best_of_n([[1.0, 2.0]], [[0, 1]], [2]).points[0].kl == pytest.approx(0.1931471806)


@pytest.mark.parametrize(
    ("rewards", "quality", "n_values", "message"),
    [
        ([[1.0, math.nan]], [[0, 1]], [1], "prompt 0: the reward of sample 1 is nan"),
        ([[1.0], [1.0, 2.0]], [[0], [0, math.inf]], [1], "prompt 1: the quality of sample 1 is inf"),
        ([[1.0, 2.0]], [[1]], [1], "prompt 0: 2 rewards and 1 quality values"),
        ([[]], [[]], [1], "prompt 0: 0 rewards"),
        ([[1.0]], [[1], [0]], [1], "rewards of 1 prompts and quality of 2"),
        ([[1.0, 2.0]], [[1, 0]], [3], "Choose n from 1 to 2"),
        ([[1.0, 2.0]], [[1, 0]], [0], "best of 0"),
        ([], [], [1], "at least one prompt"),
    ],
)
def test_what_cannot_be_computed_says_why(rewards: list, quality: list, n_values: list, message: str):
    with pytest.raises(PlauditError) as caught:
        expected_best_of_n(rewards, quality, n_values)
    assert message in str(caught.value)
