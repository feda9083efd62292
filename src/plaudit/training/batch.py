"""A training batch: token groups as passes, each a tree and the comparisons between its sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plaudit.tokens import TokenGroup
from plaudit.tree.batch import TreeBatch, build_tree_batch
from plaudit.tree.plan import num_distinct_tokens

__all__ = ["PreferenceBatch", "PreferencePass", "TreeCollator"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferencePass:
    """What one forward and backward pass works on."""

    tree: TreeBatch
    """All sequences of its groups."""
    better: Int[Tensor, " comparison"]
    """Sequence index of the preferred completion, int64."""
    worse: Int[Tensor, " comparison"]
    """Sequence index of the other one, int64."""
    margin: Float[Tensor, " comparison"]
    """In units of reward, float32."""
    weight: Float[Tensor, " comparison"]
    """float32."""
    is_tie: Bool[Tensor, " comparison"]
    """Whether the data call it a tie."""

    def to(self, device: torch.device | str, **kwargs: Any) -> PreferencePass:
        """The pass with its tensors on a device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device, **kwargs) for f in fields(self)})

    def pin_memory(self) -> PreferencePass:
        """The pass in page-locked memory."""
        return replace(self, **{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceBatch:
    """The groups that one process takes in one micro-step, as passes whose gradients add up."""

    passes: tuple[PreferencePass, ...]
    """At least one."""
    num_groups: int
    """Groups in it."""
    num_comparisons: int
    """Comparisons in it, ties included."""
    total_weight: float
    """Sum of the weights of the comparisons that are no ties: what the summed loss is divided by."""

    @property
    def num_tokens(self) -> int:
        """Tokens computed."""
        return sum(part.tree.num_tokens for part in self.passes)

    @property
    def num_given_tokens(self) -> int:
        """Tokens of all sequences, had each been computed by itself."""
        return sum(part.tree.num_given_tokens for part in self.passes)

    def to(self, device: torch.device | str, **kwargs: Any) -> PreferenceBatch:
        """The batch with its tensors on a device (as accelerate calls it)."""
        return replace(self, passes=tuple(part.to(device, **kwargs) for part in self.passes))

    def pin_memory(self) -> PreferenceBatch:
        """The batch in page-locked memory (as the data loader calls it)."""
        return replace(self, passes=tuple(part.pin_memory() for part in self.passes))


class TreeCollator:
    """Token groups to a batch.

    Args:
        max_tokens_per_pass: Computed tokens in one pass; None puts the whole batch into one. A group is never
            split, so one that exceeds the bound alone is a pass of its own.
    """

    def __init__(self, max_tokens_per_pass: int | None = None) -> None:
        self.max_tokens_per_pass = max_tokens_per_pass

    def __call__(self, groups: Sequence[TokenGroup]) -> PreferenceBatch:
        parts = [_build_pass(part) for part in self._split(groups)]
        return PreferenceBatch(
            passes=tuple(parts),
            num_groups=len(groups),
            num_comparisons=sum(len(group.better) for group in groups),
            total_weight=float(sum(group.weight[~group.is_tie].sum(dtype=np.float64) for group in groups)),
        )

    def _split(self, groups: Sequence[TokenGroup]) -> list[list[TokenGroup]]:
        if self.max_tokens_per_pass is None:
            return [list(groups)]
        sizes = [num_distinct_tokens(group.sequences) for group in groups]
        parts: list[list[TokenGroup]] = []
        room = 0
        # Largest first, so that passes fill up; the order inside a step changes no sum but by rounding.
        for index in sorted(range(len(groups)), key=lambda i: (-sizes[i], i)):
            if not parts or sizes[index] > room:
                parts.append([])
                room = self.max_tokens_per_pass
            parts[-1].append(groups[index])
            room -= sizes[index]
        return parts


def _build_pass(groups: Sequence[TokenGroup]) -> PreferencePass:
    first_sequence = np.cumsum([0, *(len(group.sequences) for group in groups)])[:-1]

    def joined(name: str, dtype: type) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(group, name) for group in groups]).astype(dtype))

    def indices(name: str) -> Tensor:
        shifted = [getattr(group, name) + first for group, first in zip(groups, first_sequence, strict=True)]
        return torch.from_numpy(np.concatenate(shifted).astype(np.int64))

    return PreferencePass(
        tree=build_tree_batch([ids for group in groups for ids in group.sequences]),
        better=indices("better"),
        worse=indices("worse"),
        margin=joined("margin", np.float32),
        weight=joined("weight", np.float32),
        is_tie=joined("is_tie", np.bool_),
    )
