"""`PairSums` against values worked by hand and against scikit-learn, and under any cut of the data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from plaudit.objective.metrics import PairSums


def sums_of(pairs: list[tuple[float, float]], **columns: list) -> PairSums:
    better = np.array([b for b, _ in pairs], dtype=np.float32)
    worse = np.array([w for _, w in pairs], dtype=np.float32)
    dtypes = {"margin": np.float32, "weight": np.float32, "is_tie": bool}
    arrays = {name: np.array(values, dtype=dtypes[name]) for name, values in columns.items()}
    return PairSums.from_rewards(better, worse, **arrays)


def test_averages_equal_values_worked_by_hand():
    averages = sums_of([(2.0, 1.0), (0.0, 3.0), (1.0, 1.0), (4.0, 1.0)]).as_dict("rm/")
    # Correct: 2 > 1 and 4 > 1; 1 == 1 is not strict. Better mean (2+0+1+4)/4, worse mean (1+3+1+1)/4.
    assert averages["rm/accuracy"] == 0.5
    assert averages["rm/chosen_rewards"] == 1.75
    assert averages["rm/rejected_rewards"] == 1.5
    assert averages["rm/reward_margin"] == 0.25
    # log(1 + e^-d) for d = 1, -3, 0, 3
    expected = (0.3132616875 + 3.0485873516 + 0.6931471806 + 0.0485873516) / 4
    assert averages["rm/loss"] == pytest.approx(expected, abs=1e-9)


def test_keys_are_the_names_that_the_trainer_logs():
    assert set(sums_of([(1.0, 0.0)]).as_dict("rm/")) == {
        "rm/accuracy",
        "rm/loss",
        "rm/chosen_rewards",
        "rm/rejected_rewards",
        "rm/reward_margin",
    }


def test_loss_subtracts_the_margin_and_weighs():
    sums = sums_of([(3.0, 1.0), (1.0, 1.0)], margin=[2.0, 0.0], weight=[3.0, 1.0])
    # Both differences less margin are 0, so each loss is log 2; weights 3 and 1 sum to 4.
    assert sums.sum_loss == pytest.approx(4 * math.log(2))
    assert sums.sum_weight == 4.0
    assert sums_of([(3.0, 1.0)], weight=[5.0]).as_dict()["accuracy"] == 1.0


def test_weighted_loss_equals_scikit_learn():
    rng = np.random.default_rng(0)
    better, worse, weight = rng.normal(size=40), rng.normal(size=40), rng.uniform(0.1, 2.0, size=40)
    probability = 1 / (1 + np.exp(-(better - worse)))
    ours = PairSums.from_rewards(better, worse, weight=weight).as_dict()["loss"]
    theirs = log_loss(np.ones(40), probability, sample_weight=weight, labels=[0, 1])
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_data_ties_are_counted_and_enter_nothing_else():
    sums = sums_of([(1.0, 0.0), (9.0, 0.0)], is_tie=[False, True])
    assert (sums.num_comparisons, sums.num_data_ties, sums.num_decided, sums.num_correct) == (2, 1, 1, 1)
    assert sums.sum_better_reward == 1.0
    assert sums.sum_weight == 1.0
    assert sums.sum_loss == pytest.approx(math.log1p(math.exp(-1)))


def test_equal_rewards_are_reward_ties_and_not_correct():
    sums = sums_of([(1.0, 1.0), (2.0, 1.0)])
    assert (sums.num_reward_ties, sums.num_correct) == (1, 1)


@pytest.mark.parametrize("num_pairs", [9, 17])
def test_short_last_batch_does_not_move_the_accuracy(num_pairs: int):
    pairs = [(0.0, 1.0)] * (num_pairs - 1) + [(1.0, 0.0)]
    batches = [pairs[start : start + 8] for start in range(0, num_pairs, 8)]
    total = sum((sums_of(batch) for batch in batches), PairSums())
    assert total.as_dict()["accuracy"] == 1 / num_pairs


rewards = st.floats(-20, 20, width=32)
pairs_of_rewards = st.lists(st.tuples(rewards, rewards), max_size=30)


@given(pairs_of_rewards, st.integers(0, 30))
def test_any_cut_gives_the_same_sums(pairs: list[tuple[float, float]], cut: int):
    merged = sums_of(pairs[:cut]) + sums_of(pairs[cut:])
    np.testing.assert_allclose(merged.to_vector(), sums_of(pairs).to_vector(), rtol=1e-12, atol=1e-9)


@given(pairs_of_rewards)
def test_vector_round_trip_keeps_every_field(pairs: list[tuple[float, float]]):
    sums = sums_of(pairs)
    assert PairSums.from_vector(sums.to_vector()) == sums
    assert isinstance(PairSums.from_vector(sums.to_vector()).num_correct, int)


@given(pairs_of_rewards, st.integers(-64, 64))
def test_shifting_all_rewards_keeps_loss_and_accuracy(pairs: list[tuple[float, float]], shift: int):
    better = np.array([b for b, _ in pairs], dtype=np.float64)
    worse = np.array([w for _, w in pairs], dtype=np.float64)
    before, after = PairSums.from_rewards(better, worse), PairSums.from_rewards(better + shift, worse + shift)
    assert after.sum_loss == pytest.approx(before.sum_loss, rel=1e-9, abs=1e-9)


def test_nothing_decided_gives_nan_averages():
    assert all(math.isnan(value) for value in PairSums().as_dict().values())
    assert all(math.isnan(value) for value in sums_of([(1.0, 0.0)], is_tie=[True]).as_dict().values())


def test_nan_reward_shows_in_the_loss():
    sums = sums_of([(math.nan, 0.0), (1.0, 0.0)])
    assert sums.num_correct == 1
    assert math.isnan(sums.as_dict()["loss"])


def test_large_differences_do_not_overflow():
    assert sums_of([(-1e30, 1e30)]).sum_loss == pytest.approx(2e30)
    assert sums_of([(1e30, -1e30)]).sum_loss == 0.0
