"""Tiles cover what the rule allows, whatever the cost model prefers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.tree import tiles as tiles_module
from plaudit.tree.plan import plan_tree
from plaudit.tree.tiles import plan_tiles

sequences_of_tokens = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=8)


@given(
    sequences_of_tokens,
    st.sampled_from([0.0, 4.0, 30.0, 1e9]),
    st.sampled_from([None, 1, 3, 7]),
    st.sampled_from([2, 5, 128]),
)
def test_tiles_ask_each_row_once_and_hold_every_key_it_may_see(
    sequences: list[list[int]], tile_cost: float, window: int | None, piece: int
) -> None:
    plan = plan_tree(sequences, min_shared_tokens=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles_module, "MAX_PIECE", piece)
        tiles = plan_tiles(plan, tile_cost=tile_cost, window=window)
    assert [row for tile in tiles for row in range(tile.start, tile.stop)] == list(range(plan.num_tokens))
    for tile in tiles:
        keys = np.concatenate([np.arange(*span) for span in tile.spans])
        assert (np.diff(keys) > 0).all()
        assert keys[-(tile.stop - tile.start) :].tolist() == list(range(tile.start, tile.stop))
        for query in range(tile.start, tile.stop):
            rows = np.arange(plan.num_tokens)
            visible = (rows <= query) & (query < plan.exit)
            if window is not None:
                visible &= plan.position_ids[query] - plan.position_ids < window
            assert set(np.flatnonzero(visible)) <= set(keys.tolist())


def test_small_branches_join_and_large_ones_stand_apart() -> None:
    prompt = list(range(100, 120))
    small = plan_tree([[*prompt, 1, 2], [*prompt, 3, 4]])
    assert len(plan_tiles(small, tile_cost=2_000.0)) == 1  # 24 x 24 beats three tiles
    large = plan_tree([[*prompt, *[1] * 100], [*prompt, *[2] * 100]])
    assert len(plan_tiles(large, tile_cost=2_000.0)) > 1  # 220 x 220 does not


def test_a_window_leaves_out_ancestors_that_nobody_sees() -> None:
    prompt = list(range(100, 200))
    plan = plan_tree([[*prompt, *[1] * 50], [*prompt, *[2] * 50]])
    last = plan_tiles(plan, tile_cost=0.0, window=10)[-1]
    # The second branch begins at position 100: the oldest key that its first row sees is position 91.
    assert last.spans == ((91, 100), (150, 200))
