"""The tree as tensors: what a model's forward pass and the attention backends read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from plaudit.tree.plan import MIN_SHARED_TOKENS, TreePlan, plan_tree

__all__ = ["TreeBatch", "build_tree_batch"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeBatch:
    """One row of tokens in depth-first order, and where each sequence's reward is read."""

    input_ids: Int[Tensor, "1 row"]
    """Token ids, int64."""
    position_ids: Int[Tensor, "1 row"]
    """Distance from the root along the path, int64."""
    exit: Int[Tensor, " row"]
    """Row at which the subtree of the token's node ends: q sees k when k <= q < exit[k]. int64."""
    sequence_ends: Int[Tensor, " sequence"]
    """Row of each sequence's last token, int64."""
    plan: TreePlan
    """The integers it was made from, on the host."""
    derived: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)
    """What attention backends work out once per batch (tiles, masks), by their own keys."""

    @property
    def num_tokens(self) -> int:
        """Tokens computed."""
        return self.plan.num_tokens

    @property
    def num_given_tokens(self) -> int:
        """Tokens of all sequences, had each been computed by itself."""
        return self.plan.num_given_tokens

    def derive(self, key: Hashable, build: Callable[[], T]) -> T:
        """Return what ``build`` makes, building it on the first call for ``key`` only."""
        if key not in self.derived:
            self.derived[key] = build()
        return self.derived[key]

    def to(self, device: torch.device | str, non_blocking: bool = False, **_: Any) -> TreeBatch:
        """The batch with its tensors on a device (as accelerate calls it); derived things are built anew."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TreeBatch:
        """The batch in page-locked memory (as the data loader calls it)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> TreeBatch:
        return TreeBatch(
            input_ids=change(self.input_ids),
            position_ids=change(self.position_ids),
            exit=change(self.exit),
            sequence_ends=change(self.sequence_ends),
            plan=self.plan,
        )


def build_tree_batch(
    sequences: Sequence[np.ndarray | Sequence[int]], *, min_shared_tokens: int = MIN_SHARED_TOKENS
) -> TreeBatch:
    """Merge S token sequences into one tree batch.

    Raises:
        ValueError: When there is no sequence, or an empty one.

    >>> batch = build_tree_batch([[1, 2, 3, 4], [1, 2, 5]], min_shared_tokens=1)
    >>> batch.input_ids, batch.position_ids, batch.sequence_ends
    (tensor([[1, 2, 3, 4, 5]]), tensor([[0, 1, 2, 3, 2]]), tensor([3, 4]))
    """
    plan = plan_tree(sequences, min_shared_tokens=min_shared_tokens)
    return TreeBatch(
        input_ids=torch.from_numpy(plan.token_ids)[None],
        position_ids=torch.from_numpy(plan.position_ids)[None],
        exit=torch.from_numpy(plan.exit),
        sequence_ends=torch.from_numpy(plan.sequence_ends),
        plan=plan,
    )
