"""Attention over a tree by a variable-length flash kernel, for CUDA.

Per node one segment: its rows as queries, its path's rows as keys, gathered; causal, aligned at the end. The
gather costs a copy of keys and values per layer, and there is no mask at all. ``torch.nn.attention.varlen`` aligns
causal segments at the end, as flash-attn does since 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from plaudit.tree.batch import TreeBatch
from plaudit.tree.plan import TreePlan

__all__ = ["VarlenSegments", "varlen_attention", "varlen_segments"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VarlenSegments:
    """What a variable-length kernel reads: one segment per node."""

    key_rows: Int[Tensor, " gathered"]
    """Rows of the keys of all segments, one after the other."""
    query_offsets: Int[Tensor, " segment_edge"]
    """int32: where each segment's queries begin, and the end."""
    key_offsets: Int[Tensor, " segment_edge"]
    """int32: where each segment's keys begin, and the end."""
    max_queries: int
    """Longest segment in queries."""
    max_keys: int
    """Longest segment in keys."""


def varlen_attention(
    query: Float[Tensor, "1 head row dim"],
    key: Float[Tensor, "1 key_head row dim"],
    value: Float[Tensor, "1 key_head row value_dim"],
    tree: TreeBatch,
    *,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Float[Tensor, "1 row head value_dim"]:
    """Attention in which every row sees its ancestors and itself; arguments as in `tiled_attention`.

    Raises:
        NotImplementedError: With a softcap, which the kernel does not have.
    """
    if softcap is not None:
        raise NotImplementedError("the varlen kernel has no softcap; use the flex backend")
    from torch.nn.attention.varlen import varlen_attn

    segments = tree.derive("varlen", lambda: varlen_segments(tree.plan, tree.input_ids.device))
    output = varlen_attn(
        query[0].transpose(0, 1).contiguous(),
        key[0].transpose(0, 1)[segments.key_rows],
        value[0].transpose(0, 1)[segments.key_rows],
        segments.query_offsets,
        segments.key_offsets,
        segments.max_queries,
        segments.max_keys,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(output, Tensor)
    return output[None]


def varlen_segments(plan: TreePlan, device: torch.device | str) -> VarlenSegments:
    """Lay out one segment per node: the rows of its path as keys, its own rows as queries."""
    path_rows: list[np.ndarray] = []
    for start, stop, parent in zip(plan.node_start, plan.node_stop, plan.node_parent, strict=True):
        own = np.arange(start, stop)
        path_rows.append(own if parent < 0 else np.concatenate([path_rows[parent], own]))
    num_queries = plan.node_stop - plan.node_start
    num_keys = np.array([len(rows) for rows in path_rows])

    def offsets(counts: np.ndarray) -> Tensor:
        edges = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return torch.from_numpy(edges).to(device)

    return VarlenSegments(
        key_rows=torch.from_numpy(np.concatenate(path_rows)).to(device),
        query_offsets=offsets(num_queries),
        key_offsets=offsets(num_keys),
        max_queries=int(num_queries.max()),
        max_keys=int(num_keys.max()),
    )
