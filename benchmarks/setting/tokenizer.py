"""A byte-level BPE tokenizer trained on the data at hand: real token counts without a download."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

__all__ = ["VOCABULARY", "train_tokenizer"]

VOCABULARY = 16_384


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """At most `VOCABULARY` tokens, among them ``<pad>`` (0) and ``<eos>`` (1); no chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=1_000_000,
        clean_up_tokenization_spaces=False,
    )
