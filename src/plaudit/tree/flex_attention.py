"""Attention over a tree by FlexAttention: one compiled kernel with a block mask, for CUDA.

The row is padded to a multiple of 128 (the block size); padding rows see themselves only. The kernel is compiled
once with dynamic shapes (arXiv:2412.05496); on other devices it runs uncompiled, for tests.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.attention.flex_attention import flex_attention as torch_flex_attention

from plaudit.tree.batch import TreeBatch

__all__ = ["flex_attention"]

BLOCK = 128
"""Rows are padded to a multiple of this (derived: FlexAttention's default block size)."""


def flex_attention(
    query: Float[Tensor, "1 head row dim"],
    key: Float[Tensor, "1 key_head row dim"],
    value: Float[Tensor, "1 key_head row value_dim"],
    tree: TreeBatch,
    *,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Float[Tensor, "1 row head value_dim"]:
    """Attention in which every row sees its ancestors and itself; arguments as in `tiled_attention`."""
    num_rows = query.shape[2]
    missing = -num_rows % BLOCK
    query, key, value = (torch.nn.functional.pad(part, (0, 0, 0, missing)) for part in (query, key, value))
    block_mask = tree.derive(("flex", window), lambda: _block_mask(tree, num_rows + missing, window))
    output = _kernel(query.device.type)(
        query,
        key,
        value,
        score_mod=None if softcap is None else _softcap(float(softcap)),
        block_mask=block_mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output[:, :, :num_rows].transpose(1, 2).contiguous()


def _block_mask(tree: TreeBatch, num_rows: int, window: int | None) -> BlockMask:
    missing = num_rows - tree.num_tokens
    device = tree.input_ids.device
    # A padding row ends its own subtree, so that it sees itself: a row that sees nothing would be NaN.
    padding = torch.arange(tree.num_tokens + 1, num_rows + 1, device=device)
    exits = torch.cat([tree.exit, padding])
    positions = torch.nn.functional.pad(tree.position_ids[0], (0, missing))

    # Lambdas, because torch counts a mask function's positional arguments and a checked one shows none.
    if window is None:
        return create_block_mask(
            lambda batch, head, query, key: (key <= query) & (query < exits[key]),
            None, None, num_rows, num_rows, device=str(device),
        )  # fmt: skip
    return create_block_mask(
        lambda batch, head, query, key: (
            (key <= query) & (query < exits[key]) & (positions[query] - positions[key] < window)
        ),
        None, None, num_rows, num_rows, device=str(device),
    )  # fmt: skip


@functools.cache
def _softcap(softcap: float) -> Callable[..., Tensor]:
    """One function per value, so that the compiled kernel is found again."""

    return lambda score, batch, head, query, key: softcap * torch.tanh(score / softcap)


@functools.cache
def _kernel(device_type: str) -> Callable[..., Tensor]:
    if device_type == "cuda":
        return torch.compile(torch_flex_attention, dynamic=True)
    return torch_flex_attention
