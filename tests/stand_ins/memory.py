"""A layer that runs out of memory above so many tokens, as a device does: in its forward or in its backward part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["limit_memory"]


class _Limited(torch.autograd.Function):
    """The identity, whose gradient needs more memory than there is for long rows."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, limit: int) -> Tensor:
        ctx.limit = limit
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        if grad.shape[1] > ctx.limit:
            raise torch.OutOfMemoryError(f"no memory for the gradient of {grad.shape[1]} tokens")
        return grad, None


def limit_memory(layer: nn.Module, max_tokens: int, *, where: str, after: int = 0) -> list[int]:
    """Let a layer [batch, tokens, hidden] fail above ``max_tokens``; returns the tokens of each of its passes.

    Args:
        layer: The first of several, so that in the backward part the gradients of the others are there already.
        max_tokens: The most that goes through.
        where: forward or backward.
        after: Passes that find enough memory, before it is short.
    """
    passes: list[int] = []

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Any, ...] | None:
        num_tokens = args[0].shape[1]
        if torch.is_grad_enabled():
            passes.append(num_tokens)
        if len(passes) <= after:
            return None
        if where == "forward":
            if num_tokens > max_tokens:
                raise torch.OutOfMemoryError(f"no memory for {num_tokens} tokens")
            return None
        return (_Limited.apply(args[0], max_tokens), *args[1:])

    layer.register_forward_pre_hook(before)
    return passes
