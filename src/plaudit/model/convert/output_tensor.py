"""A tensor that will be written: its name, shape and dtype now, its values in blocks when its turn comes.

So the header of a file can be written before any value is read, and no more than a block of an untouched tensor is in
memory at a time. Bytes that need no change are not changed: what is read is what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from safetensors import safe_open
from torch import Tensor

from plaudit.model.tensor_files import TensorFiles

__all__ = ["BLOCK_BYTES", "OutputTensor", "computed_tensor", "given_tensor", "stored_tensor", "with_new_rows"]

BLOCK_BYTES = 32 << 20
"""Bytes of a stored tensor in memory at a time (assumed: large enough for a disk, small beside an interpreter)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputTensor:
    """One tensor of a folder that is being written."""

    name: str
    """What it is called there."""
    shape: tuple[int, ...]
    """Its shape there."""
    dtype: torch.dtype
    """Its dtype there."""
    blocks: Callable[[], Iterator[Tensor]]
    """Gives its values anew at each call: tensors of its dtype whose elements, one after the other, are its."""

    @property
    def num_bytes(self) -> int:
        """The size of its values."""
        return prod(self.shape) * self.dtype.itemsize


def stored_tensor(
    files: TensorFiles,
    source: str,
    name: str,
    *,
    dtype: torch.dtype | None = None,
) -> OutputTensor:
    """A tensor as it is stored in a folder.

    Args:
        files: The folder's tensors.
        source: Its name there.
        name: Its name in the new folder.
        dtype: Cast to this where it holds floating-point numbers; None keeps its bytes.
    """
    stored = files.dtype(source)
    wanted = dtype if dtype is not None and stored.is_floating_point else stored

    def blocks() -> Iterator[Tensor]:
        for block in _row_blocks(files, source):
            yield block.to(wanted)

    return OutputTensor(name=name, shape=files.shape(source), dtype=wanted, blocks=blocks)


def given_tensor(name: str, tensor: Tensor) -> OutputTensor:
    """A tensor that is in memory."""
    return OutputTensor(
        name=name, shape=tuple(tensor.shape), dtype=tensor.dtype, blocks=lambda: iter([tensor])
    )


def with_new_rows(tensor: OutputTensor, num_rows: int) -> OutputTensor:
    """The tensor with so many rows of zeros below its own."""
    shape = (tensor.shape[0] + num_rows, *tensor.shape[1:])

    def blocks() -> Iterator[Tensor]:
        yield from tensor.blocks()
        yield torch.zeros((num_rows, *shape[1:]), dtype=tensor.dtype)

    return OutputTensor(name=tensor.name, shape=shape, dtype=tensor.dtype, blocks=blocks)


def computed_tensor(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, compute: Callable[[], Tensor]
) -> OutputTensor:
    """A tensor that is computed when its turn comes, and rounded to its dtype then."""

    def blocks() -> Iterator[Tensor]:
        value = compute()
        assert tuple(value.shape) == shape, f"{name}: computed {tuple(value.shape)}, announced {shape}"
        yield value.to(dtype)

    return OutputTensor(name=name, shape=shape, dtype=dtype, blocks=blocks)


def _row_blocks(files: TensorFiles, name: str) -> Iterator[Tensor]:
    """A stored tensor in blocks of rows; one that cannot be cut, or is small, in one."""
    file, shape = files.file_of(name), files.shape(name)
    num_bytes = files.num_bytes(name)
    if file.suffix != ".safetensors" or not shape or num_bytes <= BLOCK_BYTES:
        yield files.tensor(name)
        return
    num_rows = max(1, BLOCK_BYTES * shape[0] // num_bytes)
    for first in range(0, shape[0], num_rows):
        # Opened anew each time: pages of a mapped file stay in memory for as long as the mapping does.
        with safe_open(file, framework="pt") as tensors:
            block = tensors.get_slice(name)[first : first + num_rows]
        yield block
