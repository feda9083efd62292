"""Small models of every family from their configs, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

__all__ = ["ENCODER_FAMILIES", "PADDED_FAMILIES", "TREE_FAMILIES", "build_model"]

VOCABULARY = 160

_SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "num_labels": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

TREE_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 16},
    "qwen2": {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    "qwen3": {"head_dim": 16},
    "qwen3_moe": {
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "decoder_sparse_step": 1,
    },
    "gemma2": {
        "head_dim": 16,
        "sliding_window": 16,
        "attn_logit_softcapping": 2.0,
        "query_pre_attn_scalar": 16,
    },
    "gemma3_text": {
        "head_dim": 16,
        "sliding_window": 16,
        "query_pre_attn_scalar": 16,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    "phi3": {"sliding_window": 16},
    "olmo2": {},
    "smollm3": {"no_rope_layer_interval": 2},
    "gpt_neox": {"rotary_pct": 0.5},
}
"""Families that read trees, with settings that switch their special attention on (windows shorter than tests)."""

PADDED_FAMILIES: dict[str, dict[str, Any]] = {
    "bloom": {"n_head": 4, "n_layer": 2},
    "qwen3_next": {
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
}
"""Decoders that cannot."""

ENCODER_FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}
"""Encoders, which pool in their own way."""


def build_model(family: str, *, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """A small sequence-classification model of a family, float32, in evaluation mode.

    Its weights are larger than a fresh model's, so that attention is far from uniform and rewards differ.
    """
    special = {**TREE_FAMILIES, **PADDED_FAMILIES, **ENCODER_FAMILIES}[family]
    config = AutoConfig.for_model(family, **{**_SMALL, **special, **settings})
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.12, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model
