"""Tiles: a tree's attention cut into dense rectangles, few and with little waste. Integers only.

A tile is a run of consecutive query rows and the key rows that any of them may see: spans of ancestors, then the
rows themselves. Small branches that stand together are cheaper in one rectangle with a mask than apart; long nodes
are cheaper in pieces, because a causal triangle in one rectangle is half waste. The plan takes whatever the cost
model says is less:

    cost(tile) = TILE_COST + rows * keys

bottom-up over the tree, with a node's pieces as a chain of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from plaudit.tree.plan import TreePlan

__all__ = ["Tile", "plan_tiles"]

MAX_PIECE = 128
"""Longest run of rows planned as one piece, in tokens (assumed: 64 and 96 leave about as
much waste by counting, none of the three was timed alone; LOG.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """Query rows [start, stop) and the keys they may see."""

    start: int
    """First query row."""
    stop: int
    """One past the last query row."""
    spans: tuple[tuple[int, int], ...]
    """Key rows, as ascending disjoint ranges; the last ends at ``stop``."""

    @property
    def num_keys(self) -> int:
        """Number of key rows over all spans."""
        return sum(stop - start for start, stop in self.spans)


@dataclass(slots=True)
class _Piece:
    """A run of rows within one node, with what follows from it."""

    start: int
    stop: int
    subtree_stop: int
    parent: int
    num_above: int  # key rows of the ancestors, sliding window applied
    children: list[int]
    cost: float = 0.0
    is_dense: bool = False


def plan_tiles(plan: TreePlan, *, tile_cost: float, window: int | None = None) -> list[Tile]:
    """Cut the attention of a tree into tiles.

    Args:
        plan: The tree.
        tile_cost: What one more tile costs, in score elements (rows x keys) of one tile.
        window: Sliding window in tokens; a query sees the keys less than ``window`` positions before it.

    Returns:
        Tiles in row order that cover every row once as a query.
    """
    pieces = _cut_into_pieces(plan)
    for piece in pieces:
        above = int(plan.position_ids[piece.start])
        piece.num_above = above if window is None else min(above, window - 1)
    _choose_bottom_up(pieces, tile_cost)
    return [
        Tile(start=start, stop=stop, spans=_key_spans(plan, pieces, above, start, stop, window))
        for start, stop, above in _tile_rows(pieces, tile_cost)
    ]


def _cut_into_pieces(plan: TreePlan) -> list[_Piece]:
    """The nodes in row order, long ones as chains of pieces."""
    pieces: list[_Piece] = []
    last_piece_of_node: list[int] = []
    nodes = zip(plan.node_start, plan.node_stop, plan.node_exit, plan.node_parent, strict=True)
    for node_start, node_stop, node_exit, node_parent in nodes:
        parent = last_piece_of_node[node_parent] if node_parent >= 0 else -1
        num_pieces = -(-int(node_stop - node_start) // MAX_PIECE)
        edges = np.linspace(node_start, node_stop, num_pieces + 1).astype(int).tolist()
        for start, stop in pairwise(edges):
            pieces.append(_Piece(start, stop, int(node_exit), parent, 0, []))
            if parent >= 0:
                pieces[parent].children.append(len(pieces) - 1)
            parent = len(pieces) - 1
        last_piece_of_node.append(parent)
    return pieces


def _choose_bottom_up(pieces: list[_Piece], tile_cost: float) -> None:
    """For every subtree: one tile for all of it, or one for its first piece and tiles for what follows."""
    for piece in reversed(pieces):
        rows = piece.stop - piece.start
        apart = tile_cost + rows * (piece.num_above + rows)
        apart += sum(cost for _, _, cost in _sibling_runs(pieces, piece.children, tile_cost))
        all_rows = piece.subtree_stop - piece.start
        together = tile_cost + all_rows * (piece.num_above + all_rows)
        piece.is_dense = together <= apart
        piece.cost = min(together, apart)


def _sibling_runs(
    pieces: list[_Piece], siblings: list[int], tile_cost: float
) -> list[tuple[int, int, float]]:
    """Greedily join neighbouring sibling subtrees into one tile where that is cheaper: (first, last, cost)."""
    runs: list[tuple[int, int, float]] = []
    for sibling in siblings:
        own = pieces[sibling].cost
        if runs:
            first, _, cost = runs[-1]
            rows = pieces[sibling].subtree_stop - pieces[first].start
            joined = tile_cost + rows * (pieces[first].num_above + rows)
            if joined <= cost + own:
                runs[-1] = (first, sibling, joined)
                continue
        runs.append((sibling, sibling, own))
    return runs


def _tile_rows(pieces: list[_Piece], tile_cost: float) -> list[tuple[int, int, int]]:
    """(first row, one past the last row, piece above or -1) of every tile, in row order."""
    rows: list[tuple[int, int, int]] = []
    roots = [index for index, piece in enumerate(pieces) if piece.parent < 0]
    stack = _pending(pieces, roots, tile_cost)
    while stack:
        first, last = stack.pop()
        piece = pieces[first]
        if first != last or piece.is_dense:
            rows.append((piece.start, pieces[last].subtree_stop, piece.parent))
            continue
        rows.append((piece.start, piece.stop, piece.parent))
        stack.extend(_pending(pieces, piece.children, tile_cost))
    return rows


def _pending(pieces: list[_Piece], siblings: list[int], tile_cost: float) -> list[tuple[int, int]]:
    return [(first, last) for first, last, _ in _sibling_runs(pieces, siblings, tile_cost)][::-1]


def _key_spans(
    plan: TreePlan, pieces: list[_Piece], above: int, start: int, stop: int, window: int | None
) -> tuple[tuple[int, int], ...]:
    """The key rows of a tile: its ancestors' rows that some query of it may see, then its own."""
    first_position = int(plan.position_ids[start])
    oldest = 0 if window is None else max(0, first_position - window + 1)
    spans = [(start, stop)]
    while above >= 0:
        piece = pieces[above]
        skipped = max(0, oldest - int(plan.position_ids[piece.start]))
        if skipped >= piece.stop - piece.start:
            break
        low = piece.start + skipped
        if piece.stop == spans[-1][0]:
            spans[-1] = (low, spans[-1][1])
        else:
            spans.append((low, piece.stop))
        above = piece.parent
    return tuple(reversed(spans))
