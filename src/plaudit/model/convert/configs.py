"""config.json for each format: what its readers need, everything else as it was."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import OPENRLHF_FIELDS
from plaudit.model.normalization import RewardNormalization

__all__ = ["target_config"]

OF_A_HEAD = ("num_labels", "id2label", "label2id", "problem_type", "reward_weights")
"""What transformers says of a head, and plaudit of one with several outputs."""
OWN_NAMES = ("_name_or_path", "transformers_version")
"""Of the model that this one was made from, or of the program that wrote it."""

OPENRLHF_CLASS = "RewardModel"
"""The class that OpenRLHF saves; it goes by the fields below, and no other program finds a class of the name."""


def target_config(
    config: dict[str, Any],
    to: str,
    *,
    pad_token_id: int | None,
    vocab_size: int | None = None,
    dtype: torch.dtype | None = None,
    ties_language_head: bool = False,
    normalization: RewardNormalization | None = None,
) -> dict[str, Any]:
    """A model's config in another format.

    vLLM reads ``architectures`` (its class), ``num_labels`` 1 and ``problem_type`` "regression" (or it returns the
    sigmoid of the reward); transformers finds the last token by ``pad_token_id``, which is not the end-of-sequence
    token's; OpenRLHF reads ``value_head_prefix``, ``mean`` and ``std``.

    Args:
        config: The source's.
        to: ``sequence-classification``, ``value-head`` or ``openrlhf``.
        pad_token_id: Of the tokenizer; None leaves the config's own.
        vocab_size: Rows of the embedding, where they are others than before.
        dtype: What the weights were cast to.
        ties_language_head: Whether the language-model head shall be the embedding.
        normalization: Mean and standard deviation of the rewards, for OpenRLHF.

    Raises:
        PlauditError: transformers has no such class for the model.
    """
    left_out = (*OF_A_HEAD, *OPENRLHF_FIELDS, *OWN_NAMES)
    new = {name: value for name, value in config.items() if name not in left_out}
    texts = [new, *([dict(new["text_config"])] if isinstance(new.get("text_config"), dict) else [])]
    if len(texts) == 2:
        new["text_config"] = texts[1]
    for text in texts:
        if pad_token_id is not None:
            text["pad_token_id"] = pad_token_id
        if vocab_size is not None and "vocab_size" in text:
            text["vocab_size"] = vocab_size
    if dtype is not None:
        new.pop("torch_dtype", None)
        new["dtype"] = str(dtype).removeprefix("torch.")
    if to == "sequence-classification":
        new["architectures"] = [_class_name(config, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)]
        new |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "num_labels": 1}
        new["problem_type"] = "regression"
    elif to == "value-head":
        new["architectures"] = [_class_name(config, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)]
        if ties_language_head:
            for text in texts:
                text["tie_word_embeddings"] = True
    else:
        new["architectures"] = [OPENRLHF_CLASS]
        new["value_head_prefix"] = "score"
        known = normalization or RewardNormalization(mean=0.0, std=1.0)
        new["mean"], new["std"] = known.mean, known.std
        new["normalize_reward"] = bool(config.get("normalize_reward", False))
    return new


def _class_name(config: dict[str, Any], names: Any) -> str:
    kind = config.get("model_type")
    if kind not in names:
        raise PlauditError(
            f"transformers has no class of this kind for the model type {kind!r}",
            where="config.json",
            fix="Convert to another format, or upgrade transformers.",
        )
    name = names[kind]
    return name if isinstance(name, str) else name[0]
