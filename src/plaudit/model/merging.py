"""Merging an adapter into the weights, on a copy: the model in training is left as it is.

A quantised base is dequantised first, so nothing is rounded a second time. In float32 (and products with 4-bit
weights in float32) the merged model's rewards equal the unmerged one's within 1e-5. In 16 bits they differ by the
rounding of the merged weights; from an 8-bit model by the rounding of its activations; from DoRA on a 4-bit base that
was loaded in bfloat16 by about 1e-3, since peft takes the norms of its weights in bfloat16.
"""

from __future__ import annotations

import copy
from typing import Any, cast

from torch import Tensor, nn

from plaudit.errors import PlauditError
from plaudit.model.adapter import (
    active_adapter,
    adapter_weights,
    has_adapter,
    require_peft,
    reward_model_of,
    wrapped_by_peft,
)
from plaudit.model.backend import set_backend
from plaudit.model.quantization import dequantized_linear, is_quantized
from plaudit.model.reward_model import RewardModel

__all__ = ["merge_adapter"]

QUANTIZATION_MARKS = ("hf_quantizer", "quantization_method", "is_loaded_in_4bit", "is_loaded_in_8bit")
"""Attributes by which transformers knows a quantised model."""


def merge_adapter(model: nn.Module) -> RewardModel:
    """A plain reward model with the adapter in its weights, as a copy on the CPU.

    Costs the memory of the whole model, in float32 for a quantised one.

    Args:
        model: A PeftModel, or the reward model inside one; whole, not sharded.

    Raises:
        PlauditError: There is no adapter, or its method or the base's quantisation cannot be merged.
    """
    require_peft("merging an adapter")
    from peft import set_peft_model_state_dict

    inner = reward_model_of(model)
    if not has_adapter(inner):
        raise PlauditError("the model has no adapter", where="merge_adapter", fix="Save it as it is.")
    name = active_adapter(inner)
    config = copy.deepcopy(cast("dict[str, Any]", inner.peft_config)[name])
    if isinstance(getattr(config, "init_lora_weights", None), str):
        config.init_lora_weights = (
            True  # PiSSA and its kin change the base, and the copy's is changed already
        )
    plain = _plain_copy(inner)
    try:
        merged = wrapped_by_peft(plain, config)
        set_peft_model_state_dict(merged, {key: _on_cpu(w) for key, w in adapter_weights(model).items()})
        merged = cast(RewardModel, merged.merge_and_unload(safe_merge=True))
    except (ValueError, NotImplementedError, AttributeError) as error:
        raise PlauditError(
            f"the adapter cannot be merged: {error}", where="merge_adapter", fix="Save it unmerged."
        ) from error
    merged.__dict__.pop("peft_config", None)
    if inner.device.type != "cpu":
        set_backend(merged, "padded")  # the same rewards without a trial of the whole model on this device
    merged.origin = f"{inner.origin}, merged" if inner.origin else "merged"
    return cast(RewardModel, merged.requires_grad_(True).eval())


def _plain_copy(model: RewardModel) -> RewardModel:
    """The model on the CPU as it was before the adapter: unwrapped, dequantised, frozen.

    ``copy.deepcopy`` takes from `known` what stands in a module's or tensor's place.
    """
    known: dict[int, Any] = {}
    for module in model.modules():
        if (dense := dequantized_linear(module)) is not None:
            known[id(module)] = dense
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter:
            known[id(parameter)] = nn.Parameter(_on_cpu(parameter), requires_grad=False)
    for buffer in model.buffers():
        known[id(buffer)] = _on_cpu(buffer)
    for module in model.modules():
        if (original := _original_of(module)) is not None:
            known[id(module)] = copy.deepcopy(original, known)
    config = known[id(model.config)] = copy.deepcopy(model.config)
    known[id(getattr(model, "hf_quantizer", None))] = None
    plain = copy.deepcopy(model, known)
    plain.__dict__.pop("peft_config", None)
    plain.disable_input_require_grads()
    if is_quantized(model):
        _forget_quantization(plain, config)
    return plain


def _original_of(module: nn.Module) -> nn.Module | None:
    """What peft wrapped: the layer under an adapter, the module that a trained copy stands for."""
    for name in ("base_layer", "original_module"):
        if isinstance(original := getattr(module, name, None), nn.Module):
            return original
    return None


def _forget_quantization(plain: RewardModel, config: Any) -> None:
    if type(config.quantization_config).__name__ != "BitsAndBytesConfig":
        raise PlauditError(
            f"weights quantised by {config.quantization_config.quant_method} cannot be dequantised here",
            where="merge_adapter",
            fix="Save the adapter unmerged.",
        )
    for name in QUANTIZATION_MARKS:
        plain.__dict__.pop(name, None)
    cast(Any, plain).is_quantized = False
    del config.quantization_config
    plain.float()


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
