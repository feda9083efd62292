"""What makes two tokenizers' ids differ, in words."""

from __future__ import annotations

import re

import pytest

from plaudit.tokens import Renderer
from plaudit.tokens.difference import rendering_difference
from stand_ins.tokenizers import CHATML_TEMPLATE, LLAMA3_LIKE_TEMPLATE, build_tokenizer


def test_equal_tokenizers_do_not_differ():
    assert rendering_difference(Renderer(build_tokenizer()), Renderer(build_tokenizer())) is None


OTHERS = {
    "render": (Renderer(build_tokenizer(chat_template=CHATML_TEMPLATE), render="text"), "as chat.* as text"),
    "template": (Renderer(build_tokenizer(chat_template=LLAMA3_LIKE_TEMPLATE)), "the chat templates differ"),
    "arguments": (
        Renderer(build_tokenizer(chat_template=CHATML_TEMPLATE), chat_template_kwargs={"thinks": False}),
        "thinks",
    ),
    "vocabulary": (
        Renderer(build_tokenizer(["the other words " * 50], chat_template=CHATML_TEMPLATE)),
        "the vocabularies have .* entries differ",
    ),
    "beginning": (
        Renderer(build_tokenizer(chat_template=CHATML_TEMPLATE, add_bos=True)),
        "by different rules",
    ),
}


def test_another_end_of_a_text_is_named():
    plain, other = Renderer(build_tokenizer()), Renderer(build_tokenizer(), eos_token="<|eot_id|>")
    assert rendering_difference(plain, other) == "the end-of-sequence tokens are '</s>' and '<|eot_id|>'"


def test_another_pad_token_is_named():
    padded = build_tokenizer()
    padded.pad_token = "<|eot_id|>"
    difference = rendering_difference(Renderer(build_tokenizer()), Renderer(padded))
    assert difference == "pad_token is '<pad>' and '<|eot_id|>'"


@pytest.mark.parametrize("name", OTHERS)
def test_the_difference_is_named(name: str):
    other, said = OTHERS[name]
    first = Renderer(build_tokenizer(chat_template=CHATML_TEMPLATE))
    difference = rendering_difference(first, other)
    assert difference is not None and re.search(said, difference)
