"""The value head's own file, as LLaMA-Factory writes and reads it."""

from __future__ import annotations

from pathlib import Path

import torch

from plaudit.model.convert.output_tensor import given_tensor
from plaudit.model.convert.shards import write_file
from plaudit.model.convert.source import Head
from plaudit.model.convert.targets import ConversionOptions

__all__ = ["write_value_head"]


def write_value_head(folder: Path, head: Head, options: ConversionOptions) -> None:
    """Write ``v_head.summary.weight`` [1, hidden] and ``v_head.summary.bias`` [1] into ``value_head.*``.

    A head without a bias gets one of 0: a reader that finds none keeps the random one it was built with.

    Source: LLaMA-Factory, ``train/callbacks.py``, ``fix_valuehead_checkpoint``; ``model_utils/valuehead.py``.
    """
    bias = head.written_bias if options.keeps_bias else None
    if bias is None:
        bias = torch.zeros(1, dtype=head.weight.dtype)
    tensors = {"v_head.summary.weight": head.weight, "v_head.summary.bias": bias}
    if options.value_head_format == "bin":
        torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "value_head.bin")
        return
    write_file(
        folder / "value_head.safetensors", [given_tensor(name, tensor) for name, tensor in tensors.items()]
    )
