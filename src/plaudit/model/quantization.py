"""Quantised weights: bitsandbytes' 8 bits (LLM.int8, arXiv:2208.07339) and 4 bits (nf4, QLoRA, arXiv:2305.14314).

The head is never quantised, and what is not quantised is float32. Weights of 4 bits are turned back into the compute
type before every product, so a reward is that of the dequantised weights. In 8 bits the activations are quantised
too: rewards of 8-bit models carry that noise, and merging removes it. Which columns count as outliers is decided over
all rows of a call, so an 8-bit reward can move a little with what else is in the pass (``llm_int8_threshold=0`` in a
config of one's own decides per row, at the price of accuracy on large models).
"""

from __future__ import annotations

import copy
import logging
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from plaudit.errors import PlauditError, missing_extra

__all__ = [
    "dequantized_linear",
    "is_quantized",
    "keep_weights_as_stored",
    "quantization_config",
    "with_head_kept_out",
]

HEAD_NAMES = ("score", "classifier", "pooler")
"""Modules that stay in full precision."""

log = logging.getLogger(__name__)


def quantization_config(
    *, load_in_8bit: bool = False, load_in_4bit: bool = False, compute_dtype: torch.dtype | None = None
) -> BitsAndBytesConfig:
    """What ``load_reward_model(quantization_config=...)`` takes, for the two usual ways.

    Args:
        load_in_8bit: LLM.int8.
        load_in_4bit: nf4 with double quantisation.
        compute_dtype: Precision of products with 4-bit weights; None takes bfloat16 on CUDA, else float32.

    Raises:
        PlauditError: Both or neither were asked for, or bitsandbytes is not installed.
    """
    if load_in_8bit == load_in_4bit:
        given = "both 8 and 4 bits" if load_in_8bit else "neither 8 nor 4 bits"
        raise PlauditError(
            f"{given} were asked for", where="quantization_config", fix="Give load_in_8bit or load_in_4bit."
        )
    _require_bitsandbytes()
    if compute_dtype is None:
        compute_dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return BitsAndBytesConfig(
        load_in_8bit=load_in_8bit,
        load_in_4bit=load_in_4bit,
        llm_int8_skip_modules=list(HEAD_NAMES),
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def with_head_kept_out(config: Any) -> Any:
    """A copy of a quantisation config of transformers under which the head stays in full precision.

    Raises:
        PlauditError: It is bitsandbytes', which is not installed.
    """
    if isinstance(config, BitsAndBytesConfig):
        _require_bitsandbytes()
    config = copy.deepcopy(config)
    for name in ("llm_int8_skip_modules", "modules_to_not_convert"):
        if hasattr(config, name):
            kept = getattr(config, name) or []
            setattr(config, name, [*kept, *(head for head in HEAD_NAMES if head not in kept)])
    return config


def is_quantized(model: nn.Module) -> bool:
    """Whether a model holds quantised weights."""
    return bool(getattr(model, "is_quantized", False))


def keep_weights_as_stored(model: PreTrainedModel) -> None:
    """Stop bitsandbytes from repacking 4-bit weights on CPUs, in place.

    On CPUs with AVX512-BF16 its layers reorder their weights at the first call in evaluation mode and compute in
    bfloat16 from then on. Training after an evaluation then sends no gradient through them, and the weights cannot
    be dequantised (measured with bitsandbytes 0.50.2; tests/model/test_quantization.py).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            cast(Any, module).support_avx512bf16_for_cpu = False
    if getattr(model, "is_loaded_in_8bit", False):
        # One line for every layer and call says that inputs are cast to float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        log.info("8-bit weights: activations are rounded too, so rewards differ from full precision")


def dequantized_linear(module: nn.Module) -> nn.Linear | None:
    """A plain float32 layer on the CPU with the weights that a bitsandbytes layer computes with; None for others."""
    weight: Any = getattr(module, "weight", None)
    kind = (
        "" if hasattr(module, "base_layer") else type(weight).__name__
    )  # peft's layers pass it on as their own
    if kind not in ("Params4bit", "Int8Params"):
        return None
    from bitsandbytes import functional

    if kind == "Params4bit":
        state = copy.copy(weight.quant_state)
        state.dtype = (
            getattr(module, "compute_dtype", None) or state.dtype
        )  # the product's, as in the layer's call
        dense = functional.dequantize_4bit(weight.data, state)
    else:
        scale: Any = weight.SCB if weight.SCB is not None else cast(Any, module.state).SCB
        dense = functional.int8_vectorwise_dequant(weight.data, scale.to(weight.device))
    bias: Any = module.bias
    linear = nn.Linear(dense.shape[1], dense.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(dense.detach().to("cpu", torch.float32))
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().to("cpu", torch.float32, copy=True))
    return linear


def _require_bitsandbytes() -> None:
    if find_spec("bitsandbytes") is None:
        raise missing_extra("bitsandbytes", "quant", "8-bit and 4-bit weights")
