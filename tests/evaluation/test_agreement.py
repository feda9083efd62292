"""Krippendorff's alpha: his own example, its definition, statsmodels; Cohen's kappa against scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from plaudit.errors import PlauditError
from plaudit.evaluation.agreement import agreement_of_choices, cohen_kappa, krippendorff_alpha

_ = math.nan
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)
"""Four observers, twelve units: K. Krippendorff, 2011, Computing Krippendorff's Alpha-Reliability, example C to E."""


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_equals_the_published_value(level: str, alpha: float):
    assert krippendorff_alpha(PUBLISHED, level=level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_of_two_raters_equals_value_worked_by_hand():
    # Example B of the same paper, nominal: two observers, ten units, alpha = 0.095.
    first = np.array([0, 1, 0, 0, 0, 0, 0, 0, 1, 0], dtype=float)
    second = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0], dtype=float)
    # 4 of 10 disagree: o_01 = 4; n = 20, six ones and fourteen zeros: 1 - 19 * 4 / (6 * 14) = 0.0952.
    assert krippendorff_alpha(np.stack([first, second])) == pytest.approx(1 - 19 * 4 / 84)


@pytest.mark.parametrize("num_raters", [2, 3, 5])
def test_alpha_of_complete_ratings_equals_fleiss_kappa_of_statsmodels(num_raters: int):
    values = np.random.default_rng(num_raters).choice(4, size=(num_raters, 30), p=[0.5, 0.2, 0.2, 0.1])
    kappa = fleiss_kappa(aggregate_raters(values.T)[0])
    # Fleiss draws the chance of agreement with replacement from the N values, Krippendorff without.
    expected = 1 - (1 - kappa) * (values.size - 1) / values.size
    assert krippendorff_alpha(values.astype(float)) == pytest.approx(expected, rel=1e-12)


def by_definition(values: np.ndarray, level: str) -> float:
    """1 - D_o / D_e over pairs of values, one by one: within units, and all that can be formed."""
    units = [[v for v in unit if not math.isnan(v)] for unit in values.T]
    units = [unit for unit in units if len(unit) > 1]
    pooled = [v for unit in units for v in unit]

    def distance(a: float, b: float) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = sum(low <= v <= high for v in pooled)
        return (between - (pooled.count(low) + pooled.count(high)) / 2) ** 2 if a != b else 0.0

    observed = [
        sum(distance(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ]
    expected = sum(distance(a, b) for a, b in itertools.permutations(pooled, 2))
    return 1 - (len(pooled) - 1) * sum(observed) / expected if expected else math.nan


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@given(units=st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 3.0, _])] * 3), min_size=1, max_size=8))
def test_alpha_equals_its_definition_with_values_missing(units: list[tuple[float, ...]], level: str):
    values = np.array(units).T
    expected = by_definition(values, level)
    assert krippendorff_alpha(values, level=level) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_kappa_equals_scikit_learn(pairs: list[tuple[int, int]]):
    first, second = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    if len(np.unique(np.concatenate([first, second]))) == 1:
        assert math.isnan(cohen_kappa(first, second))
        return
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_choices_do_not_depend_on_which_completion_is_named_first():
    rng = np.random.default_rng(0)
    margins = rng.normal(size=(3, 50))
    turned = margins * rng.choice([-1.0, 1.0], size=50)
    assert agreement_of_choices(turned) == pytest.approx(agreement_of_choices(margins))


def test_agreement_with_labels_is_twice_the_accuracy_less_one():
    # Chance is 1/2, so 80% right is 0.6; small samples add (1 - 0.6) / 2n.
    margins = np.array([[1.0] * 1000, [1.0] * 800 + [-1.0] * 200])
    assert agreement_of_choices(margins) == pytest.approx(0.6 + 0.4 / 4000, abs=1e-12)


def test_nothing_that_varies_has_no_agreement():
    assert math.isnan(krippendorff_alpha(np.ones((2, 5))))
    assert math.isnan(krippendorff_alpha(np.array([[1.0, _], [_, 2.0]])))
    assert math.isnan(krippendorff_alpha(np.empty((2, 0))))


def test_unknown_level_is_named():
    with pytest.raises(PlauditError, match="nominal, ordinal, interval"):
        krippendorff_alpha(PUBLISHED, level="ratio")
