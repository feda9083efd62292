"""The temperature against scikit-learn and SciPy, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from plaudit.evaluation.temperature import fit_temperature
from plaudit.objective.intervals import Estimate


def fit(margins: list[float] | np.ndarray, prompts: np.ndarray | None = None) -> Estimate:
    margin = np.asarray(margins, dtype=np.float64)
    return fit_temperature(margin, np.arange(len(margin)) if prompts is None else prompts)


@pytest.fixture(scope="module", params=[0.02, 1.0, 300.0])
def margins(request: pytest.FixtureRequest) -> np.ndarray:
    return request.param * np.random.default_rng(3).normal(0.5, 2.0, size=400)


def test_it_is_the_inverse_of_logistic_regression_without_intercept(margins: np.ndarray):
    # Each comparison both ways round, so that there are two classes; the fitted weight is 1 / T.
    unit = np.abs(margins).mean()
    x, y = np.concatenate([margins, -margins])[:, None] / unit, np.repeat([1, 0], len(margins))
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=1000).fit(x, y)
    assert fit(margins).value == pytest.approx(unit / regression.coef_[0, 0], rel=1e-5)


def test_it_is_the_minimum_that_scipy_finds(margins: np.ndarray):
    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -margins / math.exp(log_temperature)).mean())

    best = minimize_scalar(loss, bounds=(-10, 15), method="bounded", options={"xatol": 1e-12})
    assert fit(margins).value == pytest.approx(math.exp(best.x), rel=1e-5)
    assert fit(margins).n == 400


def test_three_comparisons_equal_the_value_worked_by_hand():
    # Two margins of +1 and one of -1: sigmoid(1 / T) = 2 / 3, so 1 / T = log 2.
    assert fit([1.0, 1.0, -1.0]).value == pytest.approx(1 / math.log(2), rel=1e-12)


def test_probabilities_that_are_right_already_have_temperature_one():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, size=20_000)
    won = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    estimate = fit(np.where(won, logits, -logits))
    assert estimate.interval.low < 1 < estimate.interval.high
    assert estimate.interval.high - estimate.interval.low < 0.1


@given(scale=st.floats(1e-6, 1e6))
def test_it_has_the_unit_of_the_reward(scale: float):
    margins = np.random.default_rng(1).normal(0.3, 1.0, size=50)
    assert fit(scale * margins).value == pytest.approx(scale * fit(margins).value, rel=1e-9)
    one, other = fit(margins).interval, fit(scale * margins).interval
    assert (other.low, other.high) == pytest.approx((scale * one.low, scale * one.high), rel=1e-9)


def test_the_interval_has_the_coverage_that_it_claims_where_prompts_repeat():
    rng = np.random.default_rng(5)
    true, hits = 2.0, 0
    for _ in range(300):
        # 60 prompts of four comparisons that are won or lost together: as good as 60, not 240.
        logits = np.repeat(rng.normal(0, 1.5, size=60), 4)
        won = np.repeat(rng.random(60) < 1 / (1 + np.exp(-logits[::4])), 4)
        interval = fit(true * np.where(won, logits, -logits), np.repeat(np.arange(60), 4)).interval
        hits += interval.low < true < interval.high
    # 300 draws at 95%: three standard errors are 3.8 points; if the four counted as four it would be 65%.
    assert 0.90 < hits / 300 <= 1.0


@pytest.mark.parametrize(
    ("margins", "reason"),
    [
        ([], "no comparisons"),
        ([0.0, 0.0], "all margins are 0"),
        ([2.0, 0.1], "T would go to 0"),
        ([2.0, 0.0], "T would go to 0"),
        ([1.0, -1.0], "mean margin is 0"),
        ([1.0, -3.0], "does not prefer"),
    ],
)
def test_where_no_temperature_is_best_there_is_none_and_a_reason(margins: list[float], reason: str):
    estimate = fit(margins)
    assert math.isnan(estimate.value) and estimate.reason is not None and reason in estimate.reason


def test_one_tiny_error_among_large_margins_still_has_a_maximum():
    estimate = fit([100.0, 100.0, 100.0, -1e-9])
    assert 0 < estimate.value < 10
    slope = 1e-9 / 2 - 3 * 100 * math.exp(-100 / estimate.value)  # to first order, at the maximum
    assert slope == pytest.approx(0.0, abs=1e-13)


def test_one_prompt_gives_no_interval():
    assert math.isnan(fit([1.0, 1.0, -1.0], np.zeros(3, dtype=np.int64)).interval.low)
