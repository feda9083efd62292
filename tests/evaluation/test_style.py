"""Style control finds known weights on made data, as statsmodels does; markdown is counted as people write it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t as student_t
from sklearn.linear_model import LogisticRegression

from plaudit.evaluation.logistic import fit_logistic, t_quantile
from plaudit.evaluation.metrics import compute_metrics, correctness_of
from plaudit.evaluation.style import (
    control_for_length,
    control_for_style,
    count_style,
    is_equally_long,
    measure_style,
    style_differences,
)
from stand_ins.comparisons import rows_of, text_group


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """4,000 comparisons, 4 to a prompt: log odds of being right = 0.8 + 1.5 length - 0.6 headers."""
    rng = np.random.default_rng(0)
    differences = rng.uniform(-0.8, 0.8, size=(4000, 2))
    chance = 1 / (1 + np.exp(-(0.8 + differences @ [1.5, -0.6])))
    return differences, (rng.random(4000) < chance).astype(float), np.repeat(np.arange(1000), 4)


def test_weights_and_robust_errors_equal_statsmodels_and_scikit_learn(made: tuple):
    differences, correct, prompts = made
    design = np.column_stack([np.ones(4000), differences])
    ours = fit_logistic(design, correct, prompts)
    theirs = sm.Logit(correct, design).fit(
        disp=False, cov_type="cluster", cov_kwds={"groups": prompts, "use_correction": True}
    )
    assert not isinstance(ours, str)
    np.testing.assert_allclose(ours.weights, theirs.params, rtol=1e-6)
    # statsmodels also multiplies by (n - 1) / (n - k): 1.0005.
    np.testing.assert_allclose(ours.errors, theirs.bse, rtol=1e-3)
    third = LogisticRegression(C=np.inf, tol=1e-8).fit(differences, correct)
    np.testing.assert_allclose(ours.weights[1:], third.coef_[0], rtol=1e-3)


def test_known_weights_and_accuracy_at_equal_style_are_found(made: tuple):
    differences, correct, prompts = made
    found = measure_style(differences, np.zeros(4000, bool), correct, prompts, names=("length", "headers"))
    assert found.controlled.value == pytest.approx(1 / (1 + math.exp(-0.8)), abs=0.03)
    assert found.controlled.interval.low < 1 / (1 + math.exp(-0.8)) < found.controlled.interval.high
    for weight, truth in zip(found.weights, (1.5, -0.6), strict=True):
        # Three standard errors.
        assert weight.weight == pytest.approx(truth, abs=1.5 * (weight.high - weight.low) / 1.96)
    assert [weight.name for weight in found.weights] == ["length", "headers"]


def test_a_model_that_only_likes_length_is_at_chance_at_equal_style():
    rng = np.random.default_rng(1)
    # The better one is longer four times out of five, and the model follows length alone, with noise.
    length = rng.uniform(0.05, 0.8, 3000) * np.where(rng.random(3000) < 0.8, 1, -1)
    correct = (rng.random(3000) < 1 / (1 + np.exp(-4 * length))).astype(float)
    found = measure_style(length[:, None], np.zeros(3000, bool), correct, np.arange(3000), names=("length",))
    assert correct.mean() > 0.65
    assert found.controlled.value == pytest.approx(0.5, abs=0.04)


def test_interval_is_wider_where_prompts_decide_together(made: tuple):
    differences, correct, prompts = made
    copies = measure_style(
        np.repeat(differences, 3, axis=0), np.zeros(12_000, bool), np.repeat(correct, 3), np.repeat(prompts, 3),
        names=("length", "headers"),
    )  # fmt: skip
    once = measure_style(differences, np.zeros(4000, bool), correct, prompts, names=("length", "headers"))
    assert copies.controlled.interval.low == pytest.approx(once.controlled.interval.low, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("plain", (0, 0, 0, 0)),
        ("# A\n\n### B\n#no header\n####### seven", (2, 0, 0, 0)),
        ("- a\n  * b\n1. c\n2) d\n-no", (0, 4, 0, 0)),
        ("**bold** and __bold__ but 2 ** 3 ** 4", (0, 0, 2, 0)),
        ("```python\n# comment\n- x\n**y**\n```\n```\nz", (0, 0, 0, 2)),
    ],
)
def test_markdown_is_counted_outside_code(text: str, counts: tuple[int, ...]):
    assert count_style(text) == (len(text), *counts)


def test_differences_are_shares_of_the_sum():
    found = style_differences(np.array([[30, 0, 2]]), np.array([[10, 0, 0]]))
    assert found.tolist() == [[0.5, 0.0, 1.0]]


def test_matched_accuracy_counts_comparisons_within_a_tenth():
    assert is_equally_long(np.array([90, 89, 100, 0]), np.array([100, 100, 100, 0])).tolist() == [1, 0, 1, 1]
    rows = rows_of(
        [
            text_group("p", ["aaa!", "aaaa"]),
            text_group("q", ["bbbb", "bbb!"]),
            text_group("r", ["c!", "d" * 9]),
        ]
    )
    found = control_for_length(rows, correctness_of(rows, ties="zero"))
    assert (found.matched.value, found.matched.n) == (0.5, 2)


def test_style_is_read_from_the_texts_where_they_are_given():
    groups = [
        text_group(f"p{i}", ["**x**!" if i % 3 else "x!", "y" * (1 + i % 4)], [(0, 1)] if i % 2 else [(1, 0)])
        for i in range(60)
    ]
    rows = rows_of(groups)
    found = control_for_style(rows, correctness_of(rows, ties="zero"), groups)
    by_length = compute_metrics(rows).style
    # Rewards follow the exclamation mark alone, which the first text always has.
    assert by_length.controlled.n == found.controlled.n == 60
    assert [w.name for w in by_length.weights] in ([], ["length"])
    assert compute_metrics(rows, preferences=groups).style == found or math.isnan(found.controlled.value)


def test_a_feature_in_which_two_comparisons_differ_is_left_out_and_named(made: tuple):
    """As LLMBar has headers in 2 of 419 pairs: a model that is right in both has no finite weight for them."""
    differences, correct, prompts = (values[:419] for values in made)
    headers = np.zeros(419)
    headers[np.flatnonzero(correct == 1)[:2]] = 1.0
    both = np.column_stack([differences[:, 0], headers])
    none = np.zeros(419, bool)
    found = measure_style(both, none, correct, prompts, names=("length", "headers"))
    alone = measure_style(both[:, :1], none, correct, prompts, names=("length",))
    assert found.left_out == ("headers",) and [weight.name for weight in found.weights] == ["length"]
    assert 0.5 < found.controlled.value < 1
    assert (found.controlled, found.weights) == (alone.controlled, alone.weights)
    both[:10, 1] = np.linspace(-0.5, 0.5, 10)
    assert measure_style(both, none, correct, prompts, names=("length", "headers")).left_out == ()


@pytest.mark.parametrize(
    ("differences", "correct", "reason"),
    [
        ([[0.1], [0.2], [0.3]], [1.0, 1.0, 1.0], "right everywhere"),
        ([[0.1]], [1.0], "too few"),
        ([[0.1], [0.2], [-0.3], [0.0]], [1.0, 0.0, 1.0, 1.0], "fewer than 10 comparisons differ"),
        ([[-0.2], [-0.1], [0.1], [0.2]] * 3, [0.0, 0.0, 1.0, 1.0] * 3, "style alone decides"),
        ([[0.1, 0.2], [0.2, 0.4], [0.3, 0.6], [-0.1, -0.2]] * 3, [1.0, 0.0, 1.0, 0.0] * 3, "go together"),
    ],
)
def test_what_cannot_be_told_says_why(differences: list, correct: list, reason: str):
    array = np.array(differences)
    found = measure_style(
        array,
        np.zeros(len(array), bool),
        np.array(correct),
        np.arange(len(array)),
        names=("a", "b")[: array.shape[1]],
    )
    assert math.isnan(found.controlled.value) and reason in str(found.controlled.reason)
    assert found.weights == ()


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 30, 199, 200, 201, 5000])
def test_quantiles_of_t_equal_scipy(degrees: int):
    assert t_quantile(0.975, degrees) == pytest.approx(student_t.ppf(0.975, degrees), rel=1e-7)


def test_few_prompts_widen_the_interval_by_their_degrees_of_freedom(made: tuple):
    differences, correct, _ = made
    prompts = np.arange(4000) % 5
    fit = fit_logistic(np.column_stack([np.ones(4000), differences]), correct, prompts)
    assert not isinstance(fit, str)
    np.testing.assert_allclose(fit.half_widths, student_t.ppf(0.975, 4) * fit.errors, rtol=1e-7)


@pytest.mark.parametrize(("num_prompts", "reason"), [(1, "one prompt"), (2, "2 prompts"), (3, "3 prompts")])
def test_too_few_prompts_leave_the_value_and_say_why_there_is_no_interval(
    made: tuple, num_prompts: int, reason: str
):
    differences, correct, _ = made
    prompts = np.arange(4000) % num_prompts
    found = measure_style(differences, np.zeros(4000, bool), correct, prompts, names=("length", "headers"))
    interval = found.controlled.interval
    assert 0.5 < found.controlled.value < 1
    assert math.isnan(interval.low) and math.isnan(interval.high)
    assert interval.method == "none" and reason in str(interval.reason)
    assert all(math.isnan(weight.low) and math.isnan(weight.high) for weight in found.weights)
