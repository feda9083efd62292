"""``--activation-offloading``: activations wait for the backward pass in the host's memory.

As ``torch.autograd.graph.save_on_cpu``, which would take the weights along, and would wait for every copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["activations_on_host"]

MIN_ELEMENTS = 4_096
"""Smaller tensors stay where they are (assumed: their copy costs more than their room)."""


def activations_on_host() -> torch.autograd.graph.saved_tensors_hooks:
    """A context for the forward pass; the backward pass brings each tensor back when it is needed."""
    return torch.autograd.graph.saved_tensors_hooks(_to_host, _to_device)


def _to_host(tensor: Tensor) -> Any:
    if tensor.numel() < MIN_ELEMENTS or _is_weight(tensor):
        return tensor
    # Pinned memory can be copied to while the device goes on; later copies back wait in the same queue.
    is_cuda = tensor.device.type == "cuda"
    kept = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=is_cuda)
    return tensor.device, kept.copy_(tensor, non_blocking=is_cuda)


def _to_device(kept: Any) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    device, tensor = kept
    return tensor.to(device, non_blocking=True)


def _is_weight(tensor: Tensor) -> bool:
    """Whether it is a parameter, or a view of one, as the transposed weight of a linear layer is."""
    return isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter)
