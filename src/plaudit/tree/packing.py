"""Many sequences into passes of a bounded number of tokens, so that shared beginnings meet in a pass.

Lexicographic order puts sequences that begin alike next to each other, so a pass is a run of neighbours. Where
nothing can be shared (the padded backend) the order is by length and a pass costs rows times the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plaudit.tree.plan import common_prefix_lengths, sort_and_merge

__all__ = ["Packing", "pack_sequences"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """Distinct sequences, cut into passes."""

    distinct: list[np.ndarray]
    """D distinct sequences of token ids, in the order of the passes."""
    index_of_given: np.ndarray
    """int64 [S]: for each given sequence its index among the distinct ones."""
    passes: list[tuple[int, int]]
    """Ranges of distinct sequences, each within the budget unless one sequence alone exceeds it."""


def pack_sequences(
    sequences: Sequence[np.ndarray | Sequence[int]], *, max_tokens: int, shares_prefixes: bool = True
) -> Packing:
    """Cut sequences into passes of at most ``max_tokens`` computed tokens.

    A sequence longer than the budget gets a pass of its own.

    >>> packing = pack_sequences([[1, 2, 3], [9, 9], [1, 2, 4], [9, 9]], max_tokens=4)
    >>> [ids.tolist() for ids in packing.distinct], packing.index_of_given.tolist(), packing.passes
    ([[1, 2, 3], [1, 2, 4], [9, 9]], [0, 2, 1, 2], [(0, 2), (2, 3)])
    """
    if not len(sequences):
        return Packing(distinct=[], index_of_given=np.empty(0, dtype=np.int64), passes=[])
    distinct, index_of_given = sort_and_merge([np.asarray(ids, dtype=np.int64) for ids in sequences])
    if shares_prefixes:
        passes = _fill_by_tree_size(distinct, max_tokens)
    else:
        order = np.argsort([len(ids) for ids in distinct], kind="stable")
        distinct = [distinct[i] for i in order]
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        index_of_given = place[index_of_given]
        passes = _fill_by_rectangle(distinct, max_tokens)
    return Packing(distinct=distinct, index_of_given=index_of_given, passes=passes)


def _fill_by_tree_size(distinct: list[np.ndarray], max_tokens: int) -> list[tuple[int, int]]:
    shared = common_prefix_lengths(distinct)
    passes: list[tuple[int, int]] = []
    first, num_tokens = 0, len(distinct[0])
    for i in range(1, len(distinct)):
        num_new = len(distinct[i]) - int(shared[i])
        if num_tokens + num_new > max_tokens:
            passes.append((first, i))
            first, num_tokens = i, len(distinct[i])
        else:
            num_tokens += num_new
    return [*passes, (first, len(distinct))]


def _fill_by_rectangle(distinct: list[np.ndarray], max_tokens: int) -> list[tuple[int, int]]:
    passes: list[tuple[int, int]] = []
    first = 0
    for i in range(1, len(distinct)):
        if (i + 1 - first) * len(distinct[i]) > max_tokens:
            passes.append((first, i))
            first = i
    return [*passes, (first, len(distinct))]
