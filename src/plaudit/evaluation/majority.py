"""The quality of the answer that most of n samples give, exactly: over all subsets of size n.

Guarantees: answers with equally many votes share the pick; a sample without an answer does not vote; where none
of the n votes, a sample is picked at random.

How: for each number of votes c, a dynamic program over the answers counts the subsets in which the most votes are
c, by size and by how many answers have c, and sums the quality of those answers. An answer given fewer than c
times in all cannot win, so all of those are one binomial. Source of the baseline: X. Wang et al.,
arXiv:2203.11171 (self-consistency).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from plaudit.errors import PlauditError

__all__ = ["MAX_SAMPLES", "expected_majority"]

MAX_SAMPLES = 1000
"""Samples of a prompt at most (derived: the number of subsets still fits a double)."""


def expected_majority(
    answers: Sequence[str | None], quality: Float[np.ndarray, " sample"], n_values: Sequence[int]
) -> Float[np.ndarray, " n"]:
    """Mean quality of the majority's answer over all subsets of each size, of one prompt's samples.

    Args:
        answers: The final answer of each sample; None where it gives none. Equal texts are the same answer.
        quality: The quality of each sample; an answer's quality is the mean over its samples.
        n_values: Sizes from 1 to the number of samples.

    Raises:
        PlauditError: More than `MAX_SAMPLES` samples.

    >>> expected_majority(["4", "4", "5"], np.array([1.0, 1.0, 0.0]), [1, 2, 3]).round(4).tolist()
    [0.6667, 0.6667, 1.0]
    """
    total = len(answers)
    if total > MAX_SAMPLES:
        raise PlauditError(
            f"a majority vote over {total:,} samples of a prompt", fix=f"Give at most {MAX_SAMPLES:,}."
        )
    votes, means, silent = _votes(answers, quality)
    most = max(n_values)
    sums = np.zeros(most + 1)
    for winning in range(1, min(max(votes, default=0), most) + 1):
        sums += _sum_over_subsets(votes, means, len(silent), winning, most)
    if len(silent):
        sums += _binomials(len(silent), most) * quality[silent].mean()
    return np.array([sums[n] / math.comb(total, n) for n in n_values])


def _votes(
    answers: Sequence[str | None], quality: Float[np.ndarray, " sample"]
) -> tuple[list[int], list[float], list[int]]:
    """How often each answer is given, its mean quality, and the samples without one."""
    places: dict[str, list[int]] = {}
    silent = []
    for index, answer in enumerate(answers):
        if answer is None:
            silent.append(index)
        else:
            places.setdefault(answer, []).append(index)
    met = list(places.values())
    return [len(where) for where in met], [float(quality[where].mean()) for where in met], silent


def _sum_over_subsets(
    votes: Sequence[int], means: Sequence[float], num_silent: int, winning: int, most: int
) -> Float[np.ndarray, " size"]:
    """For each size up to ``most``: over its subsets in which the most votes are ``winning``, the pick's quality."""
    able = [(v, q) for v, q in zip(votes, means, strict=True) if v >= winning]
    rest = num_silent + sum(v for v in votes if v < winning)
    max_tied = min(len(able), most // winning)
    # [size, answers with the most votes]: number of subsets, and the sum of those answers' quality.
    subsets = np.zeros((most + 1, max_tied + 1))
    subsets[:, 0] = _binomials(rest, most)
    quality = np.zeros_like(subsets)
    for num_votes, mean in able:
        next_subsets, next_quality = subsets.copy(), quality.copy()
        for x in range(1, winning):
            ways = math.comb(num_votes, x)
            next_subsets[x:] += ways * subsets[:-x]
            next_quality[x:] += ways * quality[:-x]
        ways = math.comb(num_votes, winning)
        next_subsets[winning:, 1:] += ways * subsets[:-winning, :-1]
        next_quality[winning:, 1:] += ways * (quality[:-winning, :-1] + mean * subsets[:-winning, :-1])
        subsets, quality = next_subsets, next_quality
    return (quality[:, 1:] / np.arange(1, max_tied + 1)).sum(axis=1)


def _binomials(n: int, most: int) -> Float[np.ndarray, " size"]:
    """C(n, 0), ..., C(n, most) as float64."""
    return np.array([float(math.comb(n, size)) for size in range(most + 1)])
