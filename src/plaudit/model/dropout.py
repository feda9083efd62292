"""Dropout off: two equal inputs have one reward, in training too (arXiv:1909.08593, section 2.2)."""

from __future__ import annotations

from torch import nn

__all__ = ["disable_dropout"]

RATE_NAMES = ("attention_dropout", "attn_dropout", "hidden_dropout", "dropout_p", "dropout")
"""Attributes in which attention modules of transformers keep a rate of their own."""

ADAPTER_MARKS = ("lora_", "oft_", "vera_", "randlora_")
"""Beginnings of the names under which peft keeps an adapter's modules."""


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout rate of a model to 0, in place, except an adapter's own, which is the user's choice."""
    for name, module in model.named_modules():
        if any(mark in name for mark in ADAPTER_MARKS):
            continue
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for rate in RATE_NAMES:
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
