"""Safetensors files written as a stream: a header first, then one tensor after the other.

The library's own ``save_file`` wants all tensors of a file in memory. Its format needs no more than names, shapes and
dtypes up front: eight bytes with the header's length, the header as JSON, the values
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.model.convert.output_tensor import OutputTensor
from plaudit.model.tensor_files import SAFETENSORS_DTYPES

__all__ = ["DEFAULT_SHARD_BYTES", "write_file", "write_model_shards"]

DEFAULT_SHARD_BYTES = 5 * 10**9
"""The largest weight file (what the hub's tools wrote for years; it does not bound memory here)."""

ALIGNMENT = 8
"""The header is filled with spaces to a multiple of so many bytes, as the library does."""

NAME_OF_DTYPE = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}


def write_model_shards(
    folder: Path,
    tensors: Sequence[OutputTensor],
    *,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    on_bytes: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write a model's tensors into one ``model.safetensors``, or into shards with their index.

    Args:
        folder: Where to; it is there.
        tensors: In this order.
        max_shard_bytes: The most values in a file, in bytes; a tensor that is larger gets one to itself.
        on_bytes: Called with the number of bytes written since the last call.

    Raises:
        PlauditError: The disk is full, or what was written cannot be read back.
    """
    shards = _cut(tensors, max_shard_bytes)
    if len(shards) == 1:
        write_file(folder / "model.safetensors", shards[0], on_bytes=on_bytes)
        return [folder / "model.safetensors"]
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        write_file(folder / name, shard, on_bytes=on_bytes)
    index = {
        "metadata": {"total_size": sum(tensor.num_bytes for tensor in tensors)},
        "weight_map": {
            tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard
        },
    }
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    return [folder / name for name in names]


def write_file(
    path: Path, tensors: Iterable[OutputTensor], *, on_bytes: Callable[[int], None] | None = None
) -> None:
    """Write one safetensors file, and wait until it is on the disk.

    Raises:
        PlauditError: The disk is full, or what was written cannot be read back.
    """
    # The library orders by size of element too: each tensor then begins at a multiple of its element's size.
    ordered = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)
    try:
        with path.open("wb") as file:
            file.write(_header(ordered))
            for tensor in ordered:
                for block in tensor.blocks():
                    num_bytes = file.write(_bytes_of(block))
                    if on_bytes is not None:
                        on_bytes(num_bytes)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PlauditError(
            f"cannot be written ({error.strerror or error})",
            where=str(path),
            fix="Make room on the disk, or write elsewhere.",
        ) from error
    _check(path, [tensor.name for tensor in ordered])


def _cut(tensors: Sequence[OutputTensor], max_bytes: int) -> list[list[OutputTensor]]:
    """The tensors in order, cut where the next one would make a file too large."""
    shards: list[list[OutputTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.num_bytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.num_bytes
    return shards


def _header(tensors: Sequence[OutputTensor]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": NAME_OF_DTYPE[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.num_bytes],
        }
        offset += tensor.num_bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(block: Tensor) -> memoryview:
    return block.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _check(path: Path, names: list[str]) -> None:
    """The library reads the header and finds a file of the size that it promises."""
    try:
        with safe_open(path, framework="pt") as file:
            found = set(file.keys())
    except SafetensorError as error:
        raise PlauditError(f"was not written whole ({error})", where=str(path), fix="Try again.") from error
    assert found == set(names)
