"""Faster kernels by option: Liger's (``use_liger_kernel``), float8 (``fp8``), layers compiled (``torch_compile``).

Liger (arXiv:2410.10989) replaces normalisation, rotary embedding and the gated MLP of a model by Triton kernels.
transformers puts them in when training begins. What it must not replace is the forward pass: its fused loss is a
language model's, and would take the reward model's place.

torch.compile of the whole model would compile again for every tree. Here each decoder layer is compiled in place, with
dynamic shapes, and the attention over the tree stays outside: it is a kernel of its own. Names of weights and what is
saved stay as they are.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from plaudit.errors import PlauditError, missing_extra
from plaudit.model.reward_model import RewardModel
from plaudit.training.fp8 import use_fp8

__all__ = ["compile_layers", "liger_problems", "liger_settings", "use_kernels"]

FUSED_LOSSES = ("cross_entropy", "fused_linear_cross_entropy")
"""Liger's settings that replace a language model's loss, and the forward pass with it."""

log = logging.getLogger(__name__)


def liger_problems(*, use_cpu: bool) -> list[PlauditError]:
    """Why Liger's kernels cannot be used here; empty where they can."""
    problems: list[PlauditError] = []
    if importlib.util.find_spec("liger_kernel") is None:
        problems.append(missing_extra("liger-kernel", "liger", "--use-liger-kernel"))
    if use_cpu or not torch.accelerator.is_available():
        problems.append(
            PlauditError(
                "Liger's kernels are written in Triton, which has none for CPUs",
                where="--use-liger-kernel",
                fix="Leave it out, or train on a GPU.",
            )
        )
    return problems


def liger_settings(given: dict[str, Any] | None) -> dict[str, Any]:
    """What is asked for in ``liger_kernel_config``, without a language model's loss.

    Raises:
        PlauditError: One of the fused losses is asked for.
    """
    asked = [name for name in FUSED_LOSSES if (given or {}).get(name)]
    if asked:
        raise PlauditError(
            f"{' and '.join(asked)} would replace the reward model's forward pass by a language model's",
            where="--liger-kernel-config",
            fix="Leave it out.",
        )
    return {**(given or {}), **dict.fromkeys(FUSED_LOSSES, False)}


def use_kernels(model: RewardModel, args: Any, accelerator: Accelerator) -> None:
    """Do what the settings ask for, before the engine wraps the model.

    Raises:
        PlauditError: ``torch_compile`` with a model that has no layers to compile.
    """
    if args.use_liger_kernel:
        _warn_without_liger(model)
    if args.fp8:
        use_fp8(model, is_emulated=args.device.type != "cuda")
    if args.torch_compile:
        num_layers = compile_layers(
            model,
            backend=args.torch_compile_backend,
            mode=args.torch_compile_mode,
            recomputes=args.gradient_checkpointing,
        )
        log.info("%d layers are compiled, each by itself", num_layers)
        # accelerate would compile the whole model beside that.
        cast(Any, accelerator.state.dynamo_plugin).backend = DynamoBackend.NO


def compile_layers(
    model: nn.Module, *, backend: str = "inductor", mode: str | None = None, recomputes: bool = False
) -> int:
    """Compile each decoder layer in place, with dynamic shapes; returns how many there are.

    Args:
        model: A model of transformers.
        backend, mode: Of torch.compile.
        recomputes: Whether gradient checkpointing goes around each layer. It is part of the layer's own forward pass,
            where a compiler cannot stop half-way for the attention, so then the parts of each layer are compiled.

    Raises:
        PlauditError: The model has no such layers.
    """
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise PlauditError(
            f"{type(model).__name__} has no decoder layers of transformers to compile",
            where="--torch-compile",
            fix="Leave it out.",
        )
    for layer in layers:
        for part in layer.children() if recomputes else (layer,):
            part.compile(backend=backend, mode=mode, dynamic=True)
    return len(layers)


def _warn_without_liger(model: PreTrainedModel) -> None:
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        log.warning("--use-liger-kernel has no effect: Liger has no kernels for %s", model.config.model_type)
