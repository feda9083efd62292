"""Dropout off: two equal inputs have one reward, in training too (arXiv:1909.08593, section 2.2)."""

from __future__ import annotations

from torch import nn

__all__ = ["disable_dropout"]

RATE_NAMES = ("attention_dropout", "attn_dropout", "hidden_dropout", "dropout_p", "dropout")
"""Attributes in which attention modules of transformers keep a rate of their own."""


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout rate of a model to 0, in place, except LoRA's own, which is the user's choice."""
    for name, module in model.named_modules():
        if "lora_" in name:
            continue
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for rate in RATE_NAMES:
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
