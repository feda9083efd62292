"""Computing in float32 with weights that stay in 16 bits: each is widened for its own call alone.

Every 16-bit number is a float32 number, so the result is that of the model in float32, at half its memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["computing_in_float32"]


@contextlib.contextmanager
def computing_in_float32(model: nn.Module) -> Iterator[None]:
    """Inside, every call of the model computes in float32, whatever its weights are stored in."""
    handles: list[Any] = []
    for module in model.modules():
        narrow = [parameter for parameter in module.parameters(recurse=False) if _is_narrow(parameter)]
        if not narrow:
            continue
        if type(module) is nn.Embedding:
            # Rows are looked up, not computed with: widening those few is the same.
            handles.append(module.register_forward_hook(_widen_output))
            continue
        widened = _Widened(narrow)
        handles.append(module.register_forward_pre_hook(widened.widen))
        handles.append(module.register_forward_hook(widened.restore, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Widened:
    """The parameters of one module, in float32 during its call."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.stored: list[Tensor] = []

    def widen(self, *_: Any) -> None:
        """Before the call."""
        self.stored = [parameter.data for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.data = parameter.data.float()

    def restore(self, *_: Any) -> None:
        """After it."""
        for parameter, stored in zip(self.parameters, self.stored, strict=False):
            parameter.data = stored
        self.stored = []


def _is_narrow(parameter: nn.Parameter) -> bool:
    return parameter.dtype in (torch.float16, torch.bfloat16)


def _widen_output(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output.float()
