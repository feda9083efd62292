"""The head: the linear map from the last hidden state to a reward."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["draw_head", "head_of", "head_outputs"]


def head_of(model: nn.Module) -> nn.Module:
    """The head module: ``score`` of decoders, ``classifier`` of encoders.

    Raises:
        AttributeError: When the model has neither.
    """
    for name in ("score", "classifier"):
        if isinstance(head := getattr(model, name, None), nn.Module):
            return head
    raise AttributeError(f"{type(model).__name__} has neither a `score` nor a `classifier` head")


def head_outputs(
    head: nn.Module, hidden: Float[Tensor, "sequence hidden"]
) -> Float[Tensor, "sequence output"]:
    """What the head gives, [sequence, 1] for an ordinary reward model, in float32, whatever precision the backbone runs in.

    In bfloat16 a reward near 4 would move in steps of 1/32 and distinct answers would tie.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        weight = getattr(head, "weight", None)
        if type(head) is nn.Linear and type(weight) is nn.Parameter and weight.shape[-1] == hidden.shape[-1]:
            bias = None if head.bias is None else head.bias.float()
            return nn.functional.linear(hidden.float(), weight.float(), bias)
        # Sharded, wrapped or quantised: only its own call knows how to reach the weight.
        return head(hidden.to(next(head.parameters()).dtype)).float()


def draw_head(head: nn.Linear, *, seed: int) -> None:
    """Draw a fresh head from N(0, 1 / (hidden + 1)), its standard deviation being 1 / sqrt(hidden + 1).

    Source: Stiennon et al., arXiv:2009.01325, appendix B ("Details on reward models").
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(head.weight.shape, dtype=torch.float32)
    weight.normal_(0.0, 1.0 / math.sqrt(head.in_features + 1), generator=generator)
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.zero_()
