"""Intervals of weighted means: against the delta method, against a plain bootstrap, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.evaluation.suites.means import Cells
from plaudit.objective.intervals import wilson_interval


def cells_of(**values: list[float]) -> Cells:
    cells, start = Cells(), 0
    for name, of in values.items():
        cells.add(name, of, list(range(start, start + len(of))))
        start += len(of)
    return cells


def test_a_weighted_mean_of_independent_cells_has_the_interval_of_the_delta_method():
    random = np.random.default_rng(1)
    a, b = (random.random(400) < 0.8).astype(float), (random.random(150) < 0.4).astype(float)
    score = cells_of(a=a.tolist(), b=b.tolist()).score_combination("m", {"a": 0.3, "b": 0.7}, rule="")
    error = math.sqrt(0.3**2 * a.var() / 400 + 0.7**2 * b.var() / 150)
    assert score.value == pytest.approx(0.3 * a.mean() + 0.7 * b.mean())
    assert score.low == pytest.approx(score.value - 1.96 * error, abs=0.15 * error * 1.96)
    assert score.high == pytest.approx(score.value + 1.96 * error, abs=0.15 * error * 1.96)


def test_a_prompt_in_two_cells_is_drawn_into_both():
    """Two cells that are mirror images over the same prompts: their mean is 1/2 in every resample."""
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    cells = Cells()
    cells.add("a", values, range(8))
    cells.add("b", [1 - v for v in values], range(8))
    score = cells.score_combination("m", {"a": 0.5, "b": 0.5}, rule="")
    low, high = score.low, score.high
    assert score.value == 0.5 and (low is None or (low > 0.499 and high is not None and high < 0.501))


def test_the_interval_covers_the_truth_in_95_of_100_simulated_repetitions():
    random = np.random.default_rng(3)
    rates = {"a": (0.9, 60, 0.25), "b": (0.6, 120, 0.25), "c": (0.3, 80, 0.5)}
    truth = sum(rate * weight for rate, _, weight in rates.values())
    covered = 0
    for _ in range(150):
        cells = cells_of(
            **{k: (random.random(n) < p).astype(float).tolist() for k, (p, n, _) in rates.items()}
        )
        score = cells.score_combination("m", {k: w for k, (_, _, w) in rates.items()}, rule="")
        assert score.low is not None and score.high is not None
        covered += score.low <= truth <= score.high
    assert 0.90 <= covered / 150 <= 0.99


def test_one_cell_of_separate_prompts_has_wilsons_interval():
    score = cells_of(a=[1.0] * 8 + [0.0] * 2).score_cell("a", rule="")
    wilson = wilson_interval(8, 10)
    assert (score.low, score.high, score.interval) == (wilson.low, wilson.high, "wilson")


def test_where_every_item_agrees_the_interval_is_wilsons_of_the_effective_number():
    cells = cells_of(a=[1.0] * 30, b=[1.0] * 10)
    score = cells.score_combination("m", {"a": 0.5, "b": 0.5}, rule="")
    # 1 / (0.25 / 30 + 0.25 / 10) = 30 prompts.
    assert (score.low, score.high) == (wilson_interval(30, 30).low, 1.0)
    assert score.interval == "wilson over prompts"


def test_numbers_below_0_have_no_interval_of_a_proportion():
    score = cells_of(a=[-1.0, -0.5, 0.2, 0.9]).score_cell("a", rule="")
    assert score.value == pytest.approx(-0.1) and score.interval == "bootstrap over prompts"


def test_a_cell_without_items_makes_no_number():
    cells = cells_of(a=[1.0, 0.0], empty=[])
    assert math.isnan(cells.score_cell("empty", rule="").value)
    assert math.isnan(cells.score_cell("absent", rule="").value)
    score = cells.score_combination("m", {"a": 0.5, "empty": 0.5}, rule="")
    assert math.isnan(score.value) and score.low is None and score.num_items == 0


@settings(max_examples=25)
@given(st.permutations(range(12)))
def test_the_order_of_items_changes_neither_value_nor_interval(order: list[int]):
    values, prompts = np.arange(12) % 3 / 2, np.arange(12) // 2
    plain, shuffled = Cells(), Cells()
    plain.add("a", values, prompts)
    shuffled.add("a", values[order], prompts[order])
    for cells in (plain, shuffled):
        cells.add("b", [1.0, 0.0], [20, 21])
    first, second = (c.score_combination("m", {"a": 0.5, "b": 0.5}, rule="") for c in (plain, shuffled))
    assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high))
