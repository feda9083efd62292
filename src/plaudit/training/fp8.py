"""``--fp8``: the linear layers of the backbone multiply in 8-bit floating point while training (torchao).

Weights, gradients and the optimiser stay as they are; each product casts its two factors to float8 with one scale a
tensor (arXiv:2209.05433, and torchao's ``float8`` module). Rewards are read in the precision of the weights: in
evaluation mode a layer multiplies as it always did, so the metrics of a run are those of the model that it saves.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from plaudit.errors import PlauditError, missing_extra
from plaudit.model.head import head_of
from plaudit.model.reward_model import RewardModel

__all__ = ["fp8_problems", "use_fp8"]

MULTIPLE = 16
"""Of a layer's widths, for the products of the hardware (torch._scaled_mm)."""

MIN_CAPABILITY = (8, 9)
"""The first CUDA devices that multiply in float8: Ada, Hopper."""

log = logging.getLogger(__name__)


def fp8_problems(*, is_deepspeed: bool, is_quantized: bool, use_cpu: bool) -> list[PlauditError]:
    """Why a run cannot have fp8, by its settings and its device; empty where it can."""
    problems: list[PlauditError] = []
    if importlib.util.find_spec("torchao") is None:
        problems.append(missing_extra("torchao", "fp8", "--fp8"))
    if is_quantized:
        fix = "Leave --fp8 out, or --load-in-4bit and --load-in-8bit."
        problems.append(PlauditError("quantised weights have products of their own", where="--fp8", fix=fix))
    if is_deepspeed:
        problems.append(
            PlauditError("not tried under DeepSpeed", where="--fp8", fix="Use --parallel ddp or fsdp2.")
        )
    if not use_cpu and torch.cuda.is_available() and torch.cuda.get_device_capability() < MIN_CAPABILITY:
        fix = "Leave it out: bf16 is the fastest that this GPU has."
        problems.append(PlauditError(f"{torch.cuda.get_device_name()} has no float8", where="--fp8", fix=fix))
    return problems


def use_fp8(model: RewardModel, *, is_emulated: bool) -> int:
    """Let the backbone's linear layers train in fp8, in place, under the same names; returns how many.

    Args:
        model: Before an engine wraps it.
        is_emulated: Whether the device has no float8, so that products are rounded and then made in float32.

    The head, adapters' own matrices and layers whose widths the hardware cannot take stay as they are.

    Raises:
        PlauditError: There is no layer that can.
    """
    with warnings.catch_warnings():  # of torchao's own imports
        warnings.simplefilter("ignore")
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
        from torchao.float8.float8_linear import Float8Linear

    if is_emulated:
        log.warning("--fp8: this device has no float8, so it is emulated, which is slow and for trials only")
    left_out = {id(part) for part in head_of(model).modules()}

    def can(module: nn.Module, name: str) -> bool:
        layer = cast(nn.Linear, module)
        return (
            id(layer) not in left_out
            and "lora_" not in name
            and layer.in_features % MULTIPLE == 0
            and layer.out_features % MULTIPLE == 0
        )

    # A tree has as many tokens as it has: without padding the gradient of a weight could not be multiplied.
    config = Float8LinearConfig(pad_inner_dim=True, emulate=is_emulated)
    convert_to_float8_training(model, config=config, module_filter_fn=can)
    layers = [part for part in model.modules() if isinstance(part, Float8Linear)]
    if not layers:
        raise PlauditError(
            f"no linear layer has widths that are multiples of {MULTIPLE}", where="--fp8", fix="Leave it out."
        )
    for layer in layers:
        layer.__class__ = _only_in_training(type(layer))
    log.info("%d linear layers train in fp8", len(layers))
    return len(layers)


@cache  # one class for all layers: a compiler begins anew with each class
def _only_in_training(kind: type[Any]) -> type[Any]:
    """torchao's layer, which multiplies plainly where the model is not training."""

    class TrainingFloat8Linear(kind):
        def forward(self, input: Tensor) -> Tensor:
            if self.training:
                return super().forward(input)
            return functional.linear(input, self.weight, self.bias)

    return TrainingFloat8Linear
