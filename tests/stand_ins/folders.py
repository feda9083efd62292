"""Model folders as people have them: a base model or a reward model with its tokenizer, made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from stand_ins.tokenizers import build_tokenizer

__all__ = ["PAIRS", "write_causal_model", "write_reward_model"]

_WORDS = (
    "the a cat dog sat ran on under mat tree happily slowly never often because when it was raining"
).split()  # fmt: skip


def _sentence(seed: int, length: int) -> str:
    return " ".join(_WORDS[(seed * 7 + i * i * 3 + i * seed) % len(_WORDS)] for i in range(length))


PAIRS: list[dict[str, str]] = [
    {
        "prompt": f"\n\nHuman: {_sentence(i, 5 + i % 7)}?\n\nAssistant:",
        "chosen": f" {_sentence(i + 1, 3 + i % 5)}. number {i}",
        "rejected": f" {_sentence(i + 2, 2 + i % 6)}! item {i}",
    }
    for i in range(64)
]
"""Pairs of text in the explicit-prompt form; all different, prompts shared within a pair."""

_TEXTS = [pair["prompt"] + pair["chosen"] + pair["rejected"] for pair in PAIRS]


def _config(num_tokens: int, **settings: int):
    sizes = {
        "vocab_size": num_tokens,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    return AutoConfig.for_model("llama", **{**sizes, **settings})


def write_reward_model(
    folder: Path, *, seed: int = 0, chat_template: str | None = None, **settings: int
) -> Path:
    """A sequence-classification folder with a head whose rewards differ visibly."""
    tokenizer = build_tokenizer(_TEXTS, chat_template=chat_template)
    config = _config(len(tokenizer), **settings)
    config.num_labels = 1
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_causal_model(folder: Path, *, seed: int = 0, chat_template: str | None = None) -> Path:
    """A causal base without a reward head."""
    tokenizer = build_tokenizer(_TEXTS, chat_template=chat_template)
    config = _config(len(tokenizer))
    config.eos_token_id = tokenizer.eos_token_id
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
