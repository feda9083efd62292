"""Loading a reward model, or a base model that becomes one; never with a random head in silence."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from plaudit.errors import PlauditError
from plaudit.model.adapter_reading import read_adapter
from plaudit.model.attributes import reward_weights
from plaudit.model.backend import set_backend
from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.differences import plain_differences
from plaudit.model.dropout import disable_dropout
from plaudit.model.head import compute_in_float32, head_of
from plaudit.model.hub_files import local_folder
from plaudit.model.padded import is_decoder
from plaudit.model.partitioned import is_partitioned
from plaudit.model.quantization import is_quantized, with_head_kept_out
from plaudit.model.readers import WHOLE_READERS
from plaudit.model.reading import LoadedRewardModel, ReadRequest, grow_embedding
from plaudit.model.reward_model import RewardModel, as_reward_model
from plaudit.model.scored_token import scored_token
from plaudit.model.tensor_files import WHOLE

__all__ = ["LoadedRewardModel", "load_reward_model", "prepare_reward_model"]

log = logging.getLogger(__name__)


def load_reward_model(
    path_or_id: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    allow_fresh_head: bool = False,
    attention: str = "auto",
    dtype: torch.dtype | str = "auto",
    device: torch.device | str | None = None,
    keep_dropout: bool = False,
    attributes: Mapping[str, float] | None = None,
    head_key: str | None = None,
    quantization_config: Any = None,
    for_training: bool = False,
    seed: int = 0,
    revision: str | None = None,
    trust_remote_code: bool = False,
    model_init_kwargs: Mapping[str, Any] | None = None,
) -> LoadedRewardModel:
    """Load a checkpoint of any format of `plaudit.model.checkpoint.FORMATS` as a reward model.

    One log line says what was recognised, where the head came from, which token is scored, and what plain
    transformers would do differently.

    Args:
        path_or_id: A local folder or a hub id.
        tokenizer: Its tokenizer; gives the model the pad token, and the embedding rows of tokens added to it.
        allow_fresh_head: Whether a checkpoint without a head gets a new one, drawn from N(0, 1/(hidden+1)).
        attention: A backend, or ``auto``; see `plaudit.model.backend`.
        dtype: Precision of the weights; ``auto`` takes the checkpoint's own.
        device: Where to put it; None leaves it where transformers put it.
        keep_dropout: Keep the model's dropout for training (arXiv:1909.08593 turns it off).
        attributes: Rated attributes and their weights in the reward, for a fresh head of several outputs.
        head_key: The name of the head's weight in the files, where it is none that is known; a bias beside it is
            read too.
        quantization_config: How the weights are quantised, the head never (`plaudit.model.quantization`). With
            ``dtype="auto"`` everything else is float32 then. None quantises nothing, except under an adapter that
            was trained so.
        for_training: Whether an adapter that is loaded can be trained on (``LoadedRewardModel.peft_model``).
        seed: Of a fresh head.
        revision, trust_remote_code, model_init_kwargs: As in ``from_pretrained``.

    Raises:
        PlauditError: When the folder is damaged or unknown, has no head (and may get none), has a head of more than
            one output, of another hidden size or with values that are not finite, or the backend cannot be used.
    """
    kwargs = dict(model_init_kwargs or {})
    kwargs.pop(
        "num_labels", None
    )  # scripts say 1, as TRL's do; a reward model has one output, or its attributes
    kwargs["revision"] = revision or kwargs.get("revision")
    kwargs["trust_remote_code"] = trust_remote_code or kwargs.get("trust_remote_code", False)
    kwargs.setdefault("dtype", dtype)
    _add_quantization(kwargs, quantization_config)
    if device is not None and "quantization_config" in kwargs:
        kwargs.setdefault("device_map", {"": device})  # quantised weights are made where they stay
    facts = inspect_checkpoint(local_folder(str(path_or_id), revision=kwargs["revision"]), head_key=head_key)
    _require_weights(facts, kwargs)
    request = ReadRequest(
        source=str(path_or_id),
        facts=facts,
        allow_fresh_head=allow_fresh_head,
        attributes=attributes,
        seed=seed,
        for_training=for_training,
        keeps_head_dtype=kwargs["dtype"] == "auto",
        kwargs=kwargs,
    )
    loaded = _described(READERS[facts.format](request), request, tokenizer)
    if device is not None and not is_quantized(loaded.model):
        loaded.model.to(device)  # type: ignore[arg-type]
    prepare_reward_model(loaded.model, tokenizer, attention=attention, keep_dropout=keep_dropout)
    loaded.model.origin = loaded.origin
    log.info("%s: %s", path_or_id, loaded.summary)
    return loaded


def _require_weights(facts: CheckpointFacts, kwargs: Mapping[str, Any]) -> None:
    if facts.tensor_files or facts.is_adapter or kwargs.keys() & {"gguf_file", "variant", "subfolder"}:
        return
    raise PlauditError(
        f"no weights (looked for {', '.join(WHOLE)} and other safetensors files)",
        where=str(facts.path),
        fix="Copy the whole folder; of a run give the folder of its last whole model, not of a sharded checkpoint.",
    )


def _described(
    loaded: LoadedRewardModel, request: ReadRequest, tokenizer: PreTrainedTokenizerBase | None
) -> LoadedRewardModel:
    """With the token that is scored, and what plain transformers would do differently with the files."""
    token = "its class's own pooling of all tokens"
    if is_decoder(loaded.model):
        known = None if tokenizer is None else scored_token(tokenizer)
        token = "the last token" if known is None else str(known)
    config = request.facts.config or loaded.model.config.to_dict()
    key = request.facts.head_bias_key
    bias = None if key is None else float(request.facts.open_tensors().tensor(key).sum())
    differences = plain_differences(request.facts, config, bias=bias)
    return dataclasses.replace(
        loaded, scored_token=token, differences=() if loaded.has_fresh_head else differences
    )


def _add_quantization(kwargs: dict[str, Any], config: Any) -> None:
    """Put the quantisation config among the arguments of ``from_pretrained``, with the head kept out of it."""
    given = kwargs.pop("quantization_config", None)
    if config is not None and given is not None:
        raise PlauditError(
            "quantization_config is given twice",
            where="model_init_kwargs",
            fix="Leave it out of model_init_kwargs.",
        )
    config = config if config is not None else given
    if config is None:
        return
    kwargs["quantization_config"] = with_head_kept_out(config)
    if kwargs["dtype"] == "auto":
        kwargs["dtype"] = torch.float32


def prepare_reward_model(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    attention: str = "auto",
    keep_dropout: bool = False,
) -> RewardModel:
    """Make a sequence-classification model fit for rewards, in place: pad token, raw output, dropout, attention.

    Of a PeftModel the model inside is made ready, and returned.

    Raises:
        PlauditError: When it has several outputs without weights, or the backend cannot be used.
    """
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()  # type: ignore[operator]
    model = cast(PreTrainedModel, model)
    reward_weights(model.config)  # one output, or several whose weights are known
    # Without this, pipeline("text-classification") and vLLM return sigmoid(reward).
    model.config.problem_type = "regression"
    if tokenizer is not None:
        _fit_to_tokenizer(model, tokenizer)
    if not keep_dropout:
        disable_dropout(model)
    model.config.use_cache = False
    reward_model = as_reward_model(model)
    if is_partitioned(reward_model):
        compute_in_float32(head_of(reward_model))
    set_backend(reward_model, attention)
    return reward_model


def _fit_to_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the model the tokenizer's pad token, and an embedding row for every token."""
    embedding = model.get_input_embeddings()
    num_rows = getattr(embedding, "num_embeddings", len(tokenizer))
    if len(tokenizer) > num_rows:
        log.info("embedding grown from %d to %d rows for added tokens", num_rows, len(tokenizer))
        grow_embedding(model, len(tokenizer))
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id


READERS: dict[str, Callable[[ReadRequest], LoadedRewardModel]] = {
    **WHOLE_READERS,
    "adapter": read_adapter,
    "value-head-adapter": read_adapter,
}
"""How each format is read."""
