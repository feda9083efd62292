"""Writing an adapter folder: what peft reads, and beside it what the model is with the adapter on."""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedTokenizerBase

from plaudit.model.adapter import active_adapter, adapter_weights, reward_model_of
from plaudit.model.quantization import is_quantized
from plaudit.model.reward_model import RewardModel

__all__ = ["write_adapter"]

log = logging.getLogger(__name__)


def write_adapter(
    model: nn.Module,
    folder: Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    state_dict: dict[str, Tensor] | None = None,
) -> None:
    """Write ``adapter_config.json``, ``adapter_model.safetensors`` with the head in it, and ``config.json``.

    Rows of tokens that were added to the vocabulary are saved, with the embedding they are in, unless the only one
    is the pad token: no reward depends on its row.

    Args:
        model: A PeftModel, or the reward model inside one.
        folder: Where to; it is there.
        tokenizer: Says which token is the pad token.
        state_dict: The model's weights, where they were gathered from several processes.
    """
    inner = reward_model_of(model)
    config = copy.deepcopy(cast("dict[str, Any]", inner.peft_config)[active_adapter(inner)])
    config.inference_mode = True
    config.base_model_name_or_path = _base_name(inner, config)
    weights = adapter_weights(
        model, state_dict=state_dict, with_embedding=_has_rows_to_save(inner, config, tokenizer)
    )
    save_file(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    config.save_pretrained(str(folder))
    whole = copy.deepcopy(inner.config)
    whole.architectures = [type(inner).__name__]
    if not is_quantized(inner):  # its precision is that before quantisation, as the config says
        whole.dtype = cast(Any, inner.get_input_embeddings()).weight.dtype
    whole.save_pretrained(folder)


def _base_name(inner: RewardModel, config: Any) -> str | None:
    name = config.base_model_name_or_path or inner.config.name_or_path
    if not name:
        log.warning(
            "the adapter's base has no name, so the adapter cannot be loaded by itself: write the base's path into "
            "adapter_config.json, or save merged"
        )
        return None
    return os.path.abspath(name) if os.path.isdir(name) else name


def _has_rows_to_save(inner: RewardModel, config: Any, tokenizer: PreTrainedTokenizerBase | None) -> bool:
    """Whether the embedding has rows that the base's files do not have and a reward can depend on."""
    embedding: Any = inner.get_input_embeddings()
    if hasattr(embedding, "lora_embedding_A"):
        embedding = embedding.base_layer
    if not isinstance(embedding, nn.Embedding):
        return False  # trained in full or row by row, and saved as that
    added = set(range(_num_base_rows(inner, config), embedding.num_embeddings))
    if tokenizer is not None:
        added &= set(range(len(tokenizer)))  # rows beyond stand for no token
    pad_token_id = inner.config.get_text_config().pad_token_id
    return bool(added - {pad_token_id})


def _num_base_rows(inner: RewardModel, config: Any) -> int:
    if (known := inner.num_base_rows) is not None:
        return known
    try:
        base = AutoConfig.from_pretrained(config.base_model_name_or_path, revision=config.revision)
    except (OSError, ValueError, TypeError):
        return cast(Any, inner.get_input_embeddings()).num_embeddings
    return base.get_text_config().vocab_size
