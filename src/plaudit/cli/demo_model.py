"""The demo's base model: a small Llama with random weights, and a tokenizer trained on the demo's own texts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["write_base_model"]

SPECIAL_TOKENS = ("<pad>", "</s>")
VOCABULARY = 512
"""Bytes, all two-digit numbers and the demo's words."""

WORDS = r" ?\d+| ?[A-Za-z]+|[^A-Za-z0-9]"
"""A number is one word, so that it becomes one token."""


def write_base_model(folder: Path, texts: Iterable[str], *, seed: int) -> int:
    """Write a causal model that was never trained, with its tokenizer; returns its number of parameters."""
    tokenizer = _tokenizer(texts)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            # With the usual 0.02 a width of 64 begins with near-uniform attention, and learns later.
            initializer_range=0.1,
            pad_token_id=SPECIAL_TOKENS.index("<pad>"),
            eos_token_id=SPECIAL_TOKENS.index("</s>"),
            bos_token_id=None,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    pad, end = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=pad, eos_token=end)
