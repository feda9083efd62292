"""Adapters of peft (LoRA, DoRA and others) around a reward model."""

from __future__ import annotations

import copy
import os
import warnings
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from plaudit.errors import PlauditError, missing_extra
from plaudit.model.adapter_config import config_for_rewards
from plaudit.model.head import head_of, hold_in_float32
from plaudit.model.quantization import is_quantized, keep_weights_as_stored
from plaudit.model.reward_model import RewardModel
from plaudit.model.tensor_names import PEFT_PREFIX

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = [
    "active_adapter",
    "adapter_weights",
    "add_adapter",
    "has_adapter",
    "require_peft",
    "reward_model_of",
    "wrap",
    "wrapped_by_peft",
]


def add_adapter(model: nn.Module, peft_config: Any) -> PeftModel:
    """Freeze a reward model, put an adapter on its backbone, and train the head in full beside it.

    The model is changed in place: its layers are wrapped, and the head's copy that is trained equals the head. The
    config is not changed; `plaudit.model.adapter_config` says what is made of it.

    Args:
        model: The `RewardModel`, with the head it shall start from.
        peft_config: A ``LoraConfig`` or another config of peft that wraps layers; of any task type.

    Returns:
        A PeftModel that is called as the model is: ``model(tree=...)``.

    Raises:
        PlauditError: The model has an adapter already, or the config cannot train a reward model.
    """
    require_peft("an adapter")
    if not isinstance(model, RewardModel) or has_adapter(model):
        raise PlauditError(
            "the model has an adapter already, and a peft_config was given too",
            where="peft_config",
            fix="Leave peft_config out to train that adapter, or merge it first (merge_adapter).",
        )
    return wrap(model, config_for_rewards(model, peft_config))


def wrap(model: RewardModel, config: Any) -> PeftModel:
    """The PeftModel of a model and a config that was made fit for it.

    Raises:
        PlauditError: peft cannot wrap it so.
    """
    from peft import prepare_model_for_kbit_training

    keep_weights_as_stored(model)
    if is_quantized(model):
        # Norms and biases to float32; gradient checkpointing is for the trainer to switch on.
        prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    hold_in_float32(head_of(model))
    to_save = copy.copy(config.modules_to_save)  # peft appends to it
    model.__dict__.pop("peft_config", None)  # left by an adapter that was merged
    try:
        peft_model = wrapped_by_peft(model, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise PlauditError(
            f"peft cannot add the adapter: {error}", where="peft_config", fix="Change the peft_config."
        ) from error
    # peft lists both names that a head can have, the model's own twice.
    peft_model.peft_config[peft_model.active_adapter].modules_to_save = to_save
    if (base := config.base_model_name_or_path) and os.path.isdir(base):
        config.base_model_name_or_path = os.path.abspath(base)
    return peft_model


def wrapped_by_peft(model: RewardModel, config: Any) -> Any:
    """peft's ``get_peft_model``, less a warning about a name that peft uses and transformers will drop."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def has_adapter(model: nn.Module) -> bool:
    """Whether layers of the model carry an adapter, inside a PeftModel or bare."""
    return any(hasattr(module, "base_layer") for module in model.modules())


def reward_model_of(model: nn.Module) -> RewardModel:
    """The reward model itself: what a PeftModel wraps, or the model.

    Raises:
        TypeError: It is not one that `prepare_reward_model` made ready.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    if not isinstance(inner, RewardModel):
        raise TypeError(f"{type(inner).__name__} is no RewardModel; prepare_reward_model makes it one")
    return inner


def active_adapter(model: nn.Module) -> str:
    """The name of the adapter in use, of a PeftModel or of the reward model inside one."""
    inner = reward_model_of(model)
    for module in inner.modules():
        if hasattr(module, "base_layer") and getattr(module, "active_adapters", None):
            return str(module.active_adapters[0])  # type: ignore[index]
    return next(iter(cast("dict[str, Any]", inner.peft_config)))


def adapter_weights(
    model: nn.Module, *, state_dict: dict[str, Tensor] | None = None, with_embedding: bool = False
) -> dict[str, Tensor]:
    """The tensors of an adapter with its head, under the names of peft's files (no adapter name in them).

    Args:
        model: A PeftModel, or the reward model inside one.
        state_dict: The model's weights, where they were gathered from several processes.
        with_embedding: Add the whole input embedding.
    """
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(
        model,
        state_dict=state_dict,
        adapter_name=active_adapter(model),
        save_embedding_layers=with_embedding,
    )
    return {PEFT_PREFIX + name.removeprefix(PEFT_PREFIX): tensor for name, tensor in weights.items()}


def require_peft(needed_for: str) -> None:
    """Raise the error that says how to install peft where it is missing."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise missing_extra("peft", "lora", needed_for) from error
