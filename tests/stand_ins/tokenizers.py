"""Tokenizers built in the test, so that no test needs the network.

Byte-level BPE: every text encodes and decodes to itself. The control tokens of both chat templates below
are in every vocabulary, whatever the template, so that ids agree between tokenizers built from the same
texts.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

__all__ = ["CHATML_TEMPLATE", "LLAMA3_LIKE_TEMPLATE", "build_tokenizer"]

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Writes no beginning-of-sequence token; ends with a newline after the last control token."""

LLAMA3_LIKE_TEMPLATE = (
    "{{ bos_token }}"
    "{% if tools %}<|start_header_id|>tools<|end_header_id|>\n\n{{ tools | tojson }}<|eot_id|>{% endif %}"
    "{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
"""Writes the beginning-of-sequence token itself, renders tools, strips the content of each message."""

CONTROL_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)

SAMPLE_TEXTS = (
    "What is the capital of France? The capital of France is Paris.",
    "Write a function that adds two numbers. def add(a, b): return a + b",
    "user assistant system Human: Assistant: How do I boil an egg? Boil it for seven minutes.",
    "3 + 4 = 7, 12 * 12 = 144, and the answer is 42. I do not know. Sure, here is a poem about the sea.",
)


def build_tokenizer(
    texts: Iterable[str] | None = None,
    *,
    vocab_size: int = 512,
    chat_template: str | None = None,
    add_bos: bool = False,
    pad: str | None = "<pad>",
    eos: str | None = "</s>",
) -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer, trained on `texts`.

    Args:
        texts: What the merges are learnt from; a few sentences when None.
        vocab_size: At most this many tokens, at least 256 bytes and the special tokens.
        chat_template: A Jinja template, or None for a tokenizer without one.
        add_bos: Whether encoding puts `<s>` in front, as Llama's tokenizer does.
        pad: The pad token; `eos` itself for the pad == eos trap; None for no pad token.
        eos: The end-of-sequence token; None for none.
    """
    special = ["<s>", "</s>", *CONTROL_TOKENS]
    special += [token for token in (pad, eos) if token is not None and token not in special]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SAMPLE_TEXTS if texts is None else texts, trainer)
    if add_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A",
            pair="<s> $A <s> $B",
            special_tokens=[("<s>", backend.token_to_id("<s>"))],
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token=eos,
        pad_token=pad,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer
