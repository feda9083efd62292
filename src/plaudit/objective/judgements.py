"""What objectives read: what a model gave, and what the data say about it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Judgements", "Prediction"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What the model gave for the sequences of a pass."""

    rewards: Float[Tensor, " sequence"]
    """Raw rewards."""
    outputs: Float[Tensor, "sequence output"]
    """What the head gave: the reward itself, or one column per attribute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgements:
    """What is known about the sequences of a pass: comparisons, ratings, ranks and attributes."""

    group: Int[Tensor, " sequence"]
    """Which preference group each sequence belongs to, 0, 1, ... within the pass; int64."""
    better: Int[Tensor, " comparison"]
    """Sequence index of the preferred completion, int64."""
    worse: Int[Tensor, " comparison"]
    """Sequence index of the other one, int64."""
    margin: Float[Tensor, " comparison"]
    """How far apart the data want the two, in units of reward, float32."""
    weight: Float[Tensor, " comparison"]
    """How much the comparison counts, float32."""
    is_tie: Bool[Tensor, " comparison"]
    """Whether the data call it a tie."""
    rating: Float[Tensor, " sequence"]
    """One number per sequence, NaN where unknown, float32."""
    rank: Int[Tensor, " sequence"]
    """Place in its group's ranking, 0 is best, equal ones tie; -1 where there is no ranking. int64."""
    attributes: Float[Tensor, "sequence attribute"]
    """Rated attributes, NaN where unknown, float32; no column where none are read."""

    @classmethod
    def of_comparisons(
        cls,
        better: Any,
        worse: Any,
        *,
        margin: Any = None,
        weight: Any = None,
        is_tie: Any = None,
        group: Any = None,
        rating: Any = None,
        rank: Any = None,
        attributes: Any = None,
        num_sequences: int | None = None,
    ) -> Judgements:
        """Judgements from lists, with what is not said left empty: all sequences in one group.

        >>> Judgements.of_comparisons([0], [1]).weight
        tensor([1.])
        """
        num = num_sequences or max([*map(int, better), *map(int, worse), -1]) + 1
        unknown = torch.full((num,), float("nan"))
        comparisons = len(better)
        return cls(
            group=_tensor(group, torch.zeros(num, dtype=torch.int64)),
            better=torch.as_tensor(better, dtype=torch.int64),
            worse=torch.as_tensor(worse, dtype=torch.int64),
            margin=_tensor(margin, torch.zeros(comparisons)),
            weight=_tensor(weight, torch.ones(comparisons)),
            is_tie=_tensor(is_tie, torch.zeros(comparisons, dtype=torch.bool)),
            rating=_tensor(rating, unknown),
            rank=_tensor(rank, torch.full((num,), -1)),
            attributes=_tensor(attributes, unknown[:, None][:, :0]),
        )

    def to(self, device: torch.device | str, **kwargs: Any) -> Judgements:
        """The same on a device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device, **kwargs) for f in fields(self)})

    def pin_memory(self) -> Judgements:
        """The same in page-locked memory."""
        return replace(self, **{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


def _tensor(values: Any, default: Tensor) -> Tensor:
    return default if values is None else torch.as_tensor(values, dtype=default.dtype)
