"""Token sequences to a prefix tree, laid out in one row: each distinct prefix stands there once.

Integers only; no tensor library. Sort the sequences; the longest common prefix of neighbours gives the tree; lay
the nodes out depth-first. Then one rule says who sees whom:

    token q may attend to token k   when   k <= q < exit[k]

where ``exit[k]`` is the row at which the subtree of k's node ends: rows between k and there descend from k, all
others belong to another branch. (The interval rule of depth-first numbering, with rows as the numbers.)

    row      0 1 2 3 4 | 5 6 7 | 8 9        sequences: prompt+A, prompt+B
    node     prompt    | A     | B
    exit     10 ...    | 8 ... | 10 ...
    position 0 1 2 3 4 | 5 6 7 | 5 6

Cost: O(total tokens) to compare neighbours and O(n log n) comparisons of byte strings to sort n sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

__all__ = [
    "MIN_SHARED_TOKENS",
    "TreePlan",
    "common_prefix_lengths",
    "num_distinct_tokens",
    "path_rows",
    "plan_tree",
    "sort_and_merge",
]

MIN_SHARED_TOKENS = 8
"""A shared run shorter than this is repeated in its branches (assumed; other values were not timed).

A branch that stands apart from its beginning costs the attention of every layer a few small operations, about as
much as computing a handful of tokens; and a beginning-of-sequence token common to all prompts would tie a whole
batch into one tree.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TreePlan:
    """A prefix tree as one row of tokens in depth-first order. T rows, N nodes, S sequences given."""

    token_ids: np.ndarray
    """int64 [T]: the token of each row."""
    position_ids: np.ndarray
    """int64 [T]: distance from the root along the path, which is the position in every sequence through it."""
    exit: np.ndarray
    """int64 [T]: the row at which the subtree of the row's node ends."""
    sequence_ends: np.ndarray
    """int64 [S]: the row of each sequence's last token, where its reward is read; equal for equal sequences."""
    node_start: np.ndarray
    """int64 [N]: first row of each node, ascending."""
    node_stop: np.ndarray
    """int64 [N]: one past the last row of each node itself."""
    node_exit: np.ndarray
    """int64 [N]: one past the last row of each node's subtree."""
    node_parent: np.ndarray
    """int64 [N]: index of the parent node, -1 for a root."""
    num_given_tokens: int
    """Tokens of all sequences together, as they were given; T of them are computed."""

    @property
    def num_tokens(self) -> int:
        """T, the tokens that are computed."""
        return len(self.token_ids)

    @property
    def num_sequences(self) -> int:
        """S, duplicates included."""
        return len(self.sequence_ends)


def plan_tree(
    sequences: Sequence[np.ndarray | Sequence[int]], *, min_shared_tokens: int = MIN_SHARED_TOKENS
) -> TreePlan:
    """Merge token sequences on their common beginnings.

    Args:
        sequences: S sequences of token ids, each with at least one token.
        min_shared_tokens: A shared run becomes a node when it has at least so many tokens; 1 shares all.

    Raises:
        ValueError: When there is no sequence, or an empty one.

    >>> plan = plan_tree([[1, 2, 3, 4], [1, 2, 5], [1, 2]], min_shared_tokens=1)
    >>> plan.token_ids.tolist(), plan.exit.tolist(), plan.sequence_ends.tolist()
    ([1, 2, 3, 4, 5], [5, 5, 4, 4, 5], [3, 4, 1])
    """
    arrays = [np.asarray(sequence, dtype=np.int64) for sequence in sequences]
    if not arrays or min(map(len, arrays)) == 0:
        raise ValueError("plan_tree needs at least one sequence, and every sequence at least one token")
    distinct, index_of_given = sort_and_merge(arrays)
    shared = common_prefix_lengths(distinct)
    layout = _Layout(distinct)
    _lay_out(distinct, shared, layout, min_shared_tokens)
    return layout.finish(index_of_given, num_given_tokens=sum(map(len, arrays)))


def num_distinct_tokens(sequences: Sequence[np.ndarray | Sequence[int]]) -> int:
    """The size of the full prefix tree: how many distinct non-empty prefixes the sequences have.

    >>> num_distinct_tokens([[1, 2, 3, 4], [1, 2, 5], [1, 2]])
    5
    """
    distinct, _ = sort_and_merge([np.asarray(sequence, dtype=np.int64) for sequence in sequences])
    return sum(map(len, distinct)) - int(common_prefix_lengths(distinct).sum())


def path_rows(plan: TreePlan, end: int) -> np.ndarray:
    """The rows from the root to row ``end``, int64: ``token_ids`` at them is the sequence that ends there."""
    node = int(np.searchsorted(plan.node_start, end, side="right")) - 1
    pieces = [np.arange(plan.node_start[node], end + 1)]
    while (node := int(plan.node_parent[node])) >= 0:
        pieces.append(np.arange(plan.node_start[node], plan.node_stop[node]))
    return np.concatenate(pieces[::-1])


def sort_and_merge(arrays: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The distinct sequences in lexicographic order, and for each given one its index among them."""
    # Big-endian bytes of non-negative integers sort as the integers do, and a prefix sorts before its extensions.
    keys = [array.astype(">u4").tobytes() for array in arrays]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    distinct: list[np.ndarray] = []
    index_of_given = np.empty(len(arrays), dtype=np.int64)
    last_key = None
    for given in order:
        if keys[given] != last_key:
            distinct.append(arrays[given])
            last_key = keys[given]
        index_of_given[given] = len(distinct) - 1
    return distinct, index_of_given


def common_prefix_lengths(ordered: list[np.ndarray]) -> np.ndarray:
    """For each sequence the number of leading tokens it shares with the one before it; 0 for the first."""
    lengths = np.zeros(len(ordered), dtype=np.int64)
    for i in range(1, len(ordered)):
        num = min(len(ordered[i - 1]), len(ordered[i]))
        differs = ordered[i - 1][:num] != ordered[i][:num]
        lengths[i] = int(differs.argmax()) if differs.any() else num
    return lengths


def _lay_out(distinct: list[np.ndarray], shared: np.ndarray, layout: _Layout, min_shared_tokens: int) -> None:
    """Add the nodes depth-first; a shared run that is too short is repeated in its branches instead."""
    # Each entry: sequences [first, last) agree on their first `depth` tokens and those are laid out in `parent`.
    stack = [(first, last, 0, -1) for first, last in _branches(shared, 0, len(distinct), 0)][::-1]
    while stack:
        first, last, depth, parent = stack.pop()
        agreed = len(distinct[first]) if last == first + 1 else int(shared[first + 1 : last].min())
        ends_here = len(distinct[first]) == agreed
        branches = _branches(shared, first + ends_here, last, agreed)
        if branches and agreed - depth < min_shared_tokens:
            if ends_here:
                layout.add_node(first, depth, agreed, parent, ends=True)
            stack.extend((low, high, depth, parent) for low, high in reversed(branches))
            continue
        node = layout.add_node(first, depth, agreed, parent, ends=ends_here)
        stack.extend((low, high, agreed, node) for low, high in reversed(branches))


def _branches(shared: np.ndarray, first: int, last: int, depth: int) -> list[tuple[int, int]]:
    """Split sequences [first, last) where neighbours share no more than ``depth`` tokens."""
    if first >= last:
        return []
    cuts = np.flatnonzero(shared[first + 1 : last] <= depth) + first + 1
    edges = [first, *cuts.tolist(), last]
    return list(pairwise(edges))


class _Layout:
    """The row while it grows."""

    def __init__(self, distinct: list[np.ndarray]) -> None:
        self.distinct = distinct
        self.pieces: list[np.ndarray] = []
        self.depths: list[int] = []
        self.starts: list[int] = []
        self.parents: list[int] = []
        self.num_rows = 0
        self.ends = np.empty(len(distinct), dtype=np.int64)

    def add_node(self, sequence: int, depth: int, stop: int, parent: int, *, ends: bool) -> int:
        """Append tokens [depth, stop) of a sequence as a node; ``ends`` when the sequence ends with it."""
        self.pieces.append(self.distinct[sequence][depth:stop])
        self.depths.append(depth)
        self.starts.append(self.num_rows)
        self.parents.append(parent)
        self.num_rows += stop - depth
        if ends:
            self.ends[sequence] = self.num_rows - 1
        return len(self.starts) - 1

    def finish(self, index_of_given: np.ndarray, *, num_given_tokens: int) -> TreePlan:
        lengths = np.array([len(piece) for piece in self.pieces], dtype=np.int64)
        start = np.array(self.starts, dtype=np.int64)
        stop = start + lengths
        exits = stop.copy()
        for node in range(len(exits) - 1, -1, -1):  # children stand after their parent
            parent = self.parents[node]
            if parent >= 0:
                exits[parent] = max(exits[parent], exits[node])
        first_position = np.array(self.depths, dtype=np.int64)
        return TreePlan(
            token_ids=np.concatenate(self.pieces),
            position_ids=np.arange(self.num_rows) - np.repeat(start - first_position, lengths),
            exit=np.repeat(exits, lengths),
            sequence_ends=self.ends[index_of_given],
            node_start=start,
            node_stop=stop,
            node_exit=exits,
            node_parent=np.array(self.parents, dtype=np.int64),
            num_given_tokens=num_given_tokens,
        )
