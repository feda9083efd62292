"""The weighted mean of one tensor of several models, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.model.averaging.members import Member
from plaudit.model.averaging.report import AveragingReport
from plaudit.model.convert.output_tensor import OutputTensor, stored_tensor

__all__ = ["averaged_tensor"]


def averaged_tensor(
    name: str, members: Sequence[Member], dtype: torch.dtype | None, report: AveragingReport
) -> OutputTensor:
    """The weighted mean of one tensor, computed when its turn comes."""
    dtypes = [member.tensors.dtype(name) for member in members]
    widest = reduce(torch.promote_types, dtypes)
    wanted = dtype if dtype is not None and widest.is_floating_point else widest
    weights = [member.weight for member in members]

    def blocks() -> Iterator[Tensor]:
        is_identical = True
        for parts in _blocks_side_by_side(name, members):
            is_same = all(torch.equal(_bits(parts[0]), _bits(part)) for part in parts[1:])
            is_identical &= is_same
            if is_same:
                yield parts[0].to(wanted)
            elif widest.is_floating_point:
                yield _mean(parts, weights).to(wanted)
            else:
                raise PlauditError(
                    f"its values are {widest} and differ between the models, so they have no mean",
                    where=name,
                    fix="Average models that share it.",
                )
        report.num_identical += is_identical
        report.is_cast |= is_identical and wanted != widest

    return OutputTensor(name=name, shape=members[0].tensors.shape(name), dtype=wanted, blocks=blocks)


def _blocks_side_by_side(name: str, members: Sequence[Member]) -> Iterator[list[Tensor]]:
    """The same elements of each model at a time."""
    kinds = {(member.tensors.file_of(name).suffix, member.tensors.dtype(name)) for member in members}
    if len(kinds) > 1:  # each kind is cut into blocks in its own way
        yield [member.tensors.tensor(name) for member in members]
        return
    streams = [stored_tensor(member.tensors, name, name).blocks() for member in members]
    for parts in zip(*streams, strict=True):
        yield list(parts)


def _mean(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean in float32 (float64 of float64); where all parts have one value, that value."""
    precision = reduce(torch.promote_types, [part.dtype for part in parts], torch.float32)
    first = parts[0].to(precision)
    total, is_same = first * weights[0], torch.ones_like(first, dtype=torch.bool)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        part = part.to(precision)
        total.add_(part, alpha=weight)
        is_same &= part == first
    return torch.where(is_same, first, total)  # three thirds of a number can round to its neighbour


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
