"""The majority vote against brute force over every subset."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.evaluation.bestofn import expected_best_of_n
from plaudit.evaluation.majority import expected_majority


def brute_force(answers: list[str | None], quality: list[int], n: int) -> float:
    """Mean quality of the vote's outcome over every subset; an answer's quality is its mean over all samples."""
    of_answer = {
        answer: Fraction(
            sum(q for a, q in zip(answers, quality, strict=True) if a == answer), answers.count(answer)
        )
        for answer in set(answers)
    }
    total, subsets = Fraction(0), list(itertools.combinations(answers, n))
    for subset in subsets:
        votes = Counter(answer for answer in subset if answer is not None)
        winners = [a for a, count in votes.items() if count == max(votes.values())] or [None]
        total += sum(of_answer[answer] for answer in winners) / len(winners)
    return float(total / len(subsets))


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3)), min_size=1, max_size=7))
def test_vote_equals_brute_force_over_all_subsets(samples: list[tuple[str | None, int]]):
    answers, quality = [a for a, _ in samples], [q for _, q in samples]
    n_values = list(range(1, len(samples) + 1))
    ours = expected_majority(answers, np.array(quality, dtype=float), n_values)
    expected = [brute_force(answers, quality, n) for n in n_values]
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_hundred_samples_equal_a_simulated_vote():
    rng = np.random.default_rng(0)
    answers = [str(a) for a in rng.choice(5, size=100, p=[0.35, 0.3, 0.2, 0.1, 0.05])]
    quality = np.array([float(a == "0") for a in answers])
    picks = []
    for _ in range(4000):
        votes = Counter(answers[i] for i in rng.choice(100, size=20, replace=False))
        winners = [a for a, count in votes.items() if count == max(votes.values())]
        picks.append(np.mean([a == "0" for a in winners]))
    ours = expected_majority(answers, quality, [20])[0]
    assert ours == pytest.approx(np.mean(picks), abs=4 * np.std(picks) / np.sqrt(4000))


def test_one_sample_is_a_random_pick_and_all_are_the_plain_vote():
    quality = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    ours = expected_majority(["x", "y", "y", "x", "x"], quality, [1, 5])
    assert ours.tolist() == pytest.approx([0.6, 1.0])


def test_vote_stands_beside_the_pick_and_counts_prompts_with_enough_samples():
    curve = expected_best_of_n(
        [[0.3, 0.1, 0.2], [0.1, 0.2]],
        [[1, 0, 0], [0, 1]],
        [1, 3],
        answers=[["4", "5", "5"], ["7", None]],
    )
    one, three = curve.points
    assert one.majority is not None and three.majority is not None
    assert one.majority.value == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert (three.majority.value, three.majority.n) == (0.0, 1)
    assert three.picked.value == 1.0


def test_answers_that_do_not_fit_the_samples_say_which():
    with pytest.raises(PlauditError, match="prompt 0: 1 answers and 2 quality values"):
        expected_best_of_n([[1.0, 2.0]], [[0, 1]], [1], answers=[["4"]])
    with pytest.raises(PlauditError, match="at most 1,000"):
        expected_majority(["a"] * 1001, np.zeros(1001), [1])
