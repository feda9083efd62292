"""Loading a tokenizer: the pad token is never the end-of-sequence token, and what was changed is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from plaudit.errors import PlauditError
from plaudit.tokens import ensure_pad_token, load_tokenizer
from stand_ins.processes import script_environment
from stand_ins.tokenizers import CHATML_TEMPLATE, build_tokenizer


def saved(tokenizer, folder: Path) -> Path:
    tokenizer.save_pretrained(folder)
    return folder


def word_tokenizer(words: list[str], **special) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, which has an unknown token and emits it."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **special)


def test_pad_token_of_its_own_is_kept(tmp_path):
    loaded = load_tokenizer(saved(build_tokenizer(pad="<pad>"), tmp_path))
    assert loaded.tokenizer.pad_token == "<pad>"
    assert (loaded.num_added_tokens, loaded.notes) == (0, ())


def test_pad_that_is_eos_is_replaced_by_a_reserved_token(tmp_path):
    texts = ["a b"]
    tokenizer = build_tokenizer(texts, pad="<|endoftext|>")
    tokenizer.pad_token = tokenizer.eos_token
    loaded = load_tokenizer(saved(tokenizer, tmp_path))
    assert loaded.tokenizer.pad_token == "<|endoftext|>"
    assert loaded.num_added_tokens == 0
    assert loaded.notes == (
        "The pad token is '<|endoftext|>' of the vocabulary (it was '</s>', the end-of-sequence token).",
    )


def test_pad_that_is_eos_is_added_where_nothing_is_reserved(tmp_path):
    loaded = load_tokenizer(saved(build_tokenizer(pad="</s>"), tmp_path))
    tokenizer = loaded.tokenizer
    assert tokenizer.pad_token == "[PAD]"
    assert loaded.num_added_tokens == 1
    assert tokenizer.pad_token_id == len(tokenizer) - 1
    assert "added to the vocabulary" in loaded.notes[0]


def test_missing_pad_is_added_and_an_end_of_sequence_survives_it(tmp_path):
    loaded = load_tokenizer(saved(build_tokenizer(pad=None), tmp_path))
    assert loaded.num_added_tokens == 1
    assert loaded.tokenizer.pad_token_id != loaded.tokenizer.eos_token_id
    assert loaded.tokenizer.eos_token == "</s>"


def test_token_that_the_template_writes_is_no_pad_token():
    template = CHATML_TEMPLATE + "<|endoftext|>"
    tokenizer = build_tokenizer(pad="<|endoftext|>", chat_template=template)
    tokenizer.pad_token = tokenizer.eos_token
    assert ensure_pad_token(tokenizer)[0] == 1
    assert tokenizer.pad_token == "[PAD]"


def test_unknown_token_that_texts_hold_is_no_pad_token():
    tokenizer = word_tokenizer(["<unk>", "</s>", "hello"], eos_token="</s>")
    assert ensure_pad_token(tokenizer)[0] == 1
    assert tokenizer.pad_token == "[PAD]"


def test_unknown_token_that_no_text_holds_is_a_last_resort():
    tokenizer = build_tokenizer(pad=None)
    tokenizer.unk_token = "<|eot_id|>"
    assert ensure_pad_token(tokenizer)[0] == 0
    assert tokenizer.pad_token == "<|eot_id|>"


def test_rows_are_padded_on_the_right(tmp_path):
    config = saved(build_tokenizer(), tmp_path) / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "padding_side": "left"}))
    loaded = load_tokenizer(tmp_path)
    assert loaded.tokenizer.padding_side == "right"
    assert "pads on the right" in loaded.notes[0]


def test_chat_template_comes_from_a_file(tmp_path):
    folder = saved(build_tokenizer(), tmp_path / "model")
    path = tmp_path / "template.jinja"
    path.write_text(CHATML_TEMPLATE)
    assert load_tokenizer(folder, path).tokenizer.chat_template == CHATML_TEMPLATE


def test_chat_template_comes_from_another_tokenizers_folder(tmp_path):
    folder = saved(build_tokenizer(), tmp_path / "model")
    other = saved(build_tokenizer(chat_template=CHATML_TEMPLATE), tmp_path / "other")
    assert load_tokenizer(folder, other).tokenizer.chat_template == CHATML_TEMPLATE


def test_chat_template_comes_from_a_tokenizer_of_the_hub(tmp_path):
    # The layout in which the hub's client keeps downloads; its place is read when it is imported.
    repository = tmp_path / "hub" / "models--acme--chat-2.5"
    snapshot = saved(build_tokenizer(chat_template=CHATML_TEMPLATE), repository / "snapshots" / ("a" * 40))
    (snapshot / "config.json").write_text('{"model_type": "llama"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    script = "from plaudit.tokens.loading import read_template as t; print(t('acme/chat-2.5'), end='')"
    environment = {**script_environment(), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == CHATML_TEMPLATE, done.stderr[-2000:]


def test_name_that_is_neither_template_nor_tokenizer_is_named(tmp_path):
    folder = saved(build_tokenizer(), tmp_path / "model")
    with pytest.raises(PlauditError, match=r"acme/nothing: no tokenizer could be loaded"):
        load_tokenizer(folder, "acme/nothing")


def test_missing_template_file_names_the_option(tmp_path):
    folder = saved(build_tokenizer(), tmp_path / "model")
    with pytest.raises(PlauditError, match="--chat-template-path: the chat template cannot be read"):
        load_tokenizer(folder, tmp_path / "nowhere.jinja")


def test_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(PlauditError, match="no tokenizer could be loaded") as caught:
        load_tokenizer(tmp_path)
    assert str(tmp_path) in str(caught.value)
