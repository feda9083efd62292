"""Attention over a tree, tile by tile: the backend of any device, and the fast one on CPUs.

Each tile is one dense rectangle: scores by a matrix product, the mask, a softmax, a second product. The backward
pass is written out, because torch's CPU flash kernel is slow there in bf16 (measured: design/002-tiles.md).
Heads that share a key head are folded into rows, so that a grouped-query tile is one product per key head.

Memory: with gradients the probabilities of every tile are kept, ``heads * rows * keys`` of the model's dtype per
layer; gradient checkpointing keeps those of one layer only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plaudit.tree.batch import TreeBatch
from plaudit.tree.tiles import Tile, plan_tiles

__all__ = ["tiled_attention"]

TILE_COST_FLOPS = 5e6
"""What one more tile costs, in multiply-adds of one matrix product (measured: design/002-tiles.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _MaskedTile:
    tile: Tile
    hidden: Bool[Tensor, "query key"] | None
    """True where a query may not see a key, over the last ``key`` keys of the tile; None where it sees all."""


def tiled_attention(
    query: Float[Tensor, "1 head row dim"],
    key: Float[Tensor, "1 key_head row dim"],
    value: Float[Tensor, "1 key_head row value_dim"],
    tree: TreeBatch,
    *,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Float[Tensor, "1 row head value_dim"]:
    """Attention in which every row sees its ancestors and itself.

    Args:
        query, key, value: Projections of the whole row; ``head`` is a multiple of ``key_head``.
        tree: The tree that the rows belong to.
        scaling: Factor on the scores.
        window: Sliding window in tokens.
        softcap: Scores become ``softcap * tanh(score / softcap)`` (Gemma 2, arXiv:2408.00118).
    """
    width = query.shape[1] * query.shape[3]
    tiles = tree.derive(("tiles", window, width), lambda: _masked_tiles(tree, width, window))
    query, key, value = _in_one_precision(query, key, value)
    with torch.autocast(query.device.type, enabled=False):  # what autocast would change is already cast
        output = _TiledAttention.apply(query[0], key[0], value[0], tiles, scaling, softcap)
    return output[None]  # type: ignore[index]


def _in_one_precision(*parts: Tensor) -> list[Tensor]:
    """Cast as torch's own attention does under autocast: some models leave queries and keys in float32."""
    device = parts[0].device.type
    if torch.is_autocast_enabled(device):
        return [part.to(torch.get_autocast_dtype(device)) for part in parts]
    return [part.to(parts[-1].dtype) for part in parts]


def _masked_tiles(tree: TreeBatch, width: int, window: int | None) -> list[_MaskedTile]:
    tiles = plan_tiles(tree.plan, tile_cost=TILE_COST_FLOPS / width, window=window)
    return [_MaskedTile(tile=tile, hidden=_hidden_keys(tree, tile, window)) for tile in tiles]


def _hidden_keys(tree: TreeBatch, tile: Tile, window: int | None) -> Bool[Tensor, "query key"] | None:
    """The mask of a tile: over its own rows, or over all of its keys where a window cuts into the ancestors."""
    device = tree.input_ids.device
    queries = torch.arange(tile.start, tile.stop, device=device)
    if window is None:
        keys = queries
    else:
        keys = torch.cat([torch.arange(start, stop, device=device) for start, stop in tile.spans])
    visible = (keys <= queries[:, None]) & (queries[:, None] < tree.exit[keys])
    if window is not None:
        positions = tree.position_ids[0]
        visible &= positions[queries][:, None] - positions[keys] < window
    return None if len(queries) == 1 and bool(visible.all()) else ~visible


class _TiledAttention(torch.autograd.Function):
    """Forward and backward over all tiles of one layer."""

    @staticmethod
    def forward(ctx, query, key, value, tiles, scaling, softcap):
        num_heads, num_rows, _ = query.shape
        output = query.new_empty(num_rows, num_heads, value.shape[-1])
        kept: list[Tensor] = []
        keeps = any(ctx.needs_input_grad[:3])
        for masked in tiles:
            tile = masked.tile
            folded = _fold(query, tile, key.shape[0])
            scores = torch.bmm(folded * scaling, _gather(key, tile).transpose(1, 2))
            slopes = None
            if softcap is not None:
                capped = torch.tanh(scores / softcap)
                slopes = 1 - capped * capped if keeps else None
                scores = capped * softcap
            _hide(scores, masked)
            probabilities = torch.softmax(scores, dim=-1)
            mixed = torch.bmm(probabilities, _gather(value, tile))
            output[tile.start : tile.stop] = _unfold(mixed, num_heads).transpose(0, 1)
            if keeps:
                kept.append(probabilities)
                if slopes is not None:
                    kept.append(slopes)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.tiles, ctx.scaling, ctx.softcap = tiles, scaling, softcap
        return output

    @staticmethod
    def backward(ctx, grad_output):
        query, key, value, *kept = ctx.saved_tensors
        stride = 1 if ctx.softcap is None else 2
        grad_query = torch.empty_like(query)
        grad_key, grad_value = torch.zeros_like(key), torch.zeros_like(value)
        grad_heads = grad_output.transpose(0, 1)
        for index, masked in enumerate(ctx.tiles):
            tile = masked.tile
            probabilities = kept[index * stride]
            keys, values = _gather(key, tile), _gather(value, tile)
            grad_mixed = _fold(grad_heads, tile, key.shape[0])
            _scatter_add(grad_value, torch.bmm(probabilities.transpose(1, 2), grad_mixed), tile)
            grad_scores = torch._softmax_backward_data(
                torch.bmm(grad_mixed, values.transpose(1, 2)), probabilities, -1, probabilities.dtype
            )
            if stride == 2:
                grad_scores = grad_scores * kept[index * stride + 1]
            grad_folded = torch.bmm(grad_scores, keys).mul_(ctx.scaling)
            grad_query[:, tile.start : tile.stop] = _unfold(grad_folded, query.shape[0])
            folded = _fold(query, tile, key.shape[0]) * ctx.scaling
            _scatter_add(grad_key, torch.bmm(grad_scores.transpose(1, 2), folded), tile)
        return grad_query, grad_key, grad_value, None, None, None


def _fold(heads: Float[Tensor, "head row dim"], tile: Tile, num_key_heads: int) -> Tensor:
    """The tile's rows with all heads of a key head below each other: [key_head, group * query, dim]."""
    rows = heads[:, tile.start : tile.stop]
    return rows.reshape(num_key_heads, -1, rows.shape[-1])


def _unfold(folded: Float[Tensor, "key_head folded dim"], num_heads: int) -> Float[Tensor, "head query dim"]:
    return folded.reshape(num_heads, -1, folded.shape[-1])


def _gather(heads: Float[Tensor, "key_head row dim"], tile: Tile) -> Float[Tensor, "key_head key dim"]:
    """The tile's keys or values, a view where they are one span."""
    parts = [heads[:, start:stop] for start, stop in tile.spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _scatter_add(total: Float[Tensor, "key_head row dim"], part: Tensor, tile: Tile) -> None:
    """Add the tile's gradients of its keys or values to the rows they came from."""
    offset = 0
    for start, stop in tile.spans:
        total[:, start:stop] += part[:, offset : offset + stop - start]
        offset += stop - start


def _hide(scores: Float[Tensor, "key_head folded key"], masked: _MaskedTile) -> None:
    """Set the scores of keys that a query may not see to minus infinity, in place."""
    if masked.hidden is None:
        return
    num_queries, num_masked = masked.hidden.shape
    by_query = scores.view(scores.shape[0], -1, num_queries, scores.shape[-1])
    by_query[..., -num_masked:].masked_fill_(masked.hidden, float("-inf"))
