"""Llama-like models of a given shape with random weights, the same for every side of a comparison.

A benchmark needs a model's shape and no more: what a step costs does not depend on what the weights know.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig, PreTrainedModel

from plaudit.model.head import draw_head

__all__ = ["SHAPES", "build_model", "num_matrix_parameters"]


def _shape(
    layers: int, hidden: int, heads: int, key_heads: int, intermediate: int, vocabulary: int
) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
    }


SHAPES: dict[str, dict[str, Any]] = {
    "tiny": _shape(2, 64, 4, 2, 128, 16_384),
    "s": _shape(8, 256, 4, 2, 768, 16_384),
    "m": _shape(16, 512, 8, 4, 1536, 16_384),
    "135m": _shape(30, 576, 9, 3, 1536, 16_384),
    "1b": _shape(16, 2048, 32, 8, 8192, 128_256),
    "8b": _shape(32, 4096, 32, 8, 14_336, 128_256),
}
"""By name: the prototype's S and M, SmolLM2-135M's layers, Llama-3.2-1B and Llama-3.1-8B."""

MAX_POSITIONS = 4_096


def build_model(
    shape: str, *, seed: int = 0, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A sequence-classification model with one output; pad token 0, end of sequence 1.

    The head is drawn as plaudit draws a fresh one, so that rewards spread as they do at the start of a training.
    """
    config = LlamaConfig(
        **SHAPES[shape],
        max_position_embeddings=MAX_POSITIONS,
        num_labels=1,
        problem_type="regression",
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        use_cache=False,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
    draw_head(model.score, seed=seed)
    return model


def num_matrix_parameters(model: PreTrainedModel) -> int:
    """Parameters that a token is multiplied with: all but the embedding table, which is looked up."""
    return model.num_parameters() - model.get_input_embeddings().weight.numel()
