"""The one rendering: what becomes of text and messages, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from plaudit.errors import PlauditError
from plaudit.tokens import Renderer, RenderingRule
from stand_ins.tokenizers import CHATML_TEMPLATE, LLAMA3_LIKE_TEMPLATE, build_tokenizer

PLAIN = build_tokenizer()
WITH_BOS = build_tokenizer(add_bos=True)
CHATML = build_tokenizer(chat_template=CHATML_TEMPLATE)
LLAMA = build_tokenizer(chat_template=LLAMA3_LIKE_TEMPLATE, add_bos=True)

USER = {"role": "user", "content": "What is the capital of France?"}
ANSWER = {"role": "assistant", "content": "Paris."}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)
FEW = settings(max_examples=40, deadline=None)


def closing_tokenizer():
    """A tokenizer that puts `<s>` in front of a text and `</s>` behind it by itself."""
    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)],
    )
    return tokenizer


def decoded(tokenizer, ids: np.ndarray) -> str:
    return tokenizer.decode(ids.tolist())


def test_text_without_template_is_prompt_completion_and_eos():
    ids = Renderer(PLAIN).token_ids("2 + 2 = ", "4")
    assert ids.dtype == np.int32
    assert decoded(PLAIN, ids) == "2 + 2 = 4</s>"


def test_text_that_ends_with_eos_gets_no_second_one():
    ids = Renderer(PLAIN).token_ids("2 + 2 = ", "4</s>")
    assert decoded(PLAIN, ids) == "2 + 2 = 4</s>"


def test_tokenizer_that_adds_bos_adds_one():
    ids = Renderer(WITH_BOS).token_ids("2 + 2 = ", "4")
    assert decoded(WITH_BOS, ids) == "<s>2 + 2 = 4</s>"


def test_text_that_begins_with_bos_gets_no_second_one():
    ids = Renderer(WITH_BOS).token_ids("<s>2 + 2 = ", "4")
    assert decoded(WITH_BOS, ids) == "<s>2 + 2 = 4</s>"


def test_template_that_writes_bos_gets_no_second_one_from_the_tokenizer():
    ids = Renderer(LLAMA).token_ids((USER,), (ANSWER,))
    assert (ids == LLAMA.bos_token_id).sum() == 1
    assert ids[0] == LLAMA.bos_token_id


def test_tokenizer_that_adds_eos_itself_ends_with_one():
    tokenizer = closing_tokenizer()
    assert decoded(tokenizer, Renderer(tokenizer).token_ids("a", "b")) == "<s>ab</s>"
    assert decoded(tokenizer, Renderer(tokenizer).token_ids("a", "b</s>")) == "<s>ab</s>"


def test_closing_token_of_an_encoder_stands_in_for_a_missing_eos():
    tokenizer = closing_tokenizer()
    tokenizer.eos_token = None
    renderer = Renderer(tokenizer)
    assert renderer.eos_token == "</s>"
    assert decoded(tokenizer, renderer.token_ids("a", "b")) == "<s>ab</s>"


def test_tokenizer_without_eos_is_an_error_that_names_the_remedy():
    with pytest.raises(PlauditError, match="no end-of-sequence token") as caught:
        Renderer(build_tokenizer(eos=None))
    assert "--eos-token" in str(caught.value)


def test_given_eos_closes_the_text():
    renderer = Renderer(build_tokenizer(eos=None), eos_token="<|im_end|>")
    assert decoded(renderer.tokenizer, renderer.token_ids("a", "b")) == "ab<|im_end|>"


def test_eos_that_is_no_token_is_an_error():
    with pytest.raises(PlauditError, match="'<end>' is not one token"):
        Renderer(PLAIN, eos_token="<end>")


def test_given_eos_that_the_template_never_reads_is_a_warning():
    with pytest.warns(UserWarning, match="has no effect"):
        Renderer(CHATML, eos_token="<|im_end|>")


def test_given_eos_reaches_a_template_that_reads_it():
    template = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    renderer = Renderer(build_tokenizer(chat_template=template), eos_token="<|im_end|>")
    assert renderer.render_text((USER,), (ANSWER,)).endswith("Paris.<|im_end|>")


def test_plain_text_becomes_one_user_and_one_assistant_message_under_a_template():
    ids = Renderer(CHATML).token_ids("Hello?", "Hi.")
    # Written out by hand from the template.
    expected = "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n"
    assert decoded(CHATML, ids) == expected


def test_text_rendering_ignores_the_template():
    ids = Renderer(CHATML, render="text").token_ids("Hello?", "Hi.")
    assert decoded(CHATML, ids) == "Hello?Hi.</s>"


def test_text_parts_render_as_their_concatenation():
    parts = {
        "role": "assistant",
        "content": [{"type": "text", "text": "Par"}, {"type": "text", "text": "is."}],
    }
    renderer = Renderer(CHATML)
    assert renderer.render_text((USER,), (parts,)) == renderer.render_text((USER,), (ANSWER,))


def test_part_that_is_no_text_is_an_error_with_its_source():
    image = {"role": "user", "content": [{"type": "image", "url": "x.png"}]}
    with pytest.raises(PlauditError, match=r"data\.jsonl:7: message 0 has a part of type 'image'"):
        Renderer(CHATML).token_ids((image,), (ANSWER,), source="data.jsonl:7")


def test_text_mixed_with_messages_is_an_error():
    with pytest.raises(PlauditError, match="the prompt is text and the completion is messages"):
        Renderer(CHATML).token_ids("Hello?", (ANSWER,))


def test_messages_without_a_template_name_source_and_remedy():
    with pytest.raises(PlauditError, match="--chat-template-path") as caught:
        Renderer(PLAIN).token_ids((USER,), (ANSWER,), source="data.jsonl:7")
    assert str(caught.value).startswith("data.jsonl:7: ")


def test_chat_rendering_without_a_template_is_an_error():
    with pytest.raises(PlauditError, match="no chat template"):
        Renderer(PLAIN, render="chat")


def test_misspelt_rendering_lists_the_valid_ones():
    with pytest.raises(PlauditError, match="auto, chat, text"):
        Renderer(PLAIN, render="caht")


def test_template_that_refuses_a_role_names_the_source_and_the_roles():
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    renderer = Renderer(build_tokenizer(chat_template=template))
    system = {"role": "system", "content": "Be brief."}
    with pytest.raises(PlauditError, match="no system") as caught:
        renderer.token_ids((system, USER), (ANSWER,), source="data.jsonl:12")
    assert "data.jsonl:12" in str(caught.value)
    assert "system, user, assistant" in str(caught.value)


def test_template_that_stumbles_over_a_record_names_the_source():
    template = "{% for message in messages %}{{ message['content'] + message['name'] }}{% endfor %}"
    renderer = Renderer(build_tokenizer(chat_template=template))
    with pytest.raises(PlauditError, match=r"data\.jsonl:3"):
        renderer.token_ids((USER,), (ANSWER,), source="data.jsonl:3")


def test_lone_surrogate_names_its_source():
    with pytest.raises(PlauditError, match=r"data\.jsonl:9: .*surrogate"):
        Renderer(PLAIN).token_ids("a", "\ud800", source="data.jsonl:9")


@pytest.mark.parametrize("tokenizer", [CHATML, LLAMA], ids=["chatml", "llama3-like"])
@pytest.mark.parametrize("tools", [None, [WEATHER]], ids=["no tools", "tools"])
def test_chat_ids_equal_those_of_transformers(tokenizer, tools):
    messages = [{"role": "system", "content": "Be brief."}, USER, ANSWER, USER, ANSWER]
    expected = tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=False)
    renderer = Renderer(tokenizer)
    assert renderer.token_ids_of_messages(messages, tools).tolist() == expected
    assert renderer.token_ids(tuple(messages[:-1]), (ANSWER,), tools).tolist() == expected


def test_template_arguments_of_the_record_come_on_top_of_the_renderers():
    template = "{{ mode }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    renderer = Renderer(build_tokenizer(chat_template=template), chat_template_kwargs={"mode": "plain:"})
    assert renderer.render_text("a", "b") == "plain:ab"
    assert renderer.render_text("a", "b", None, {"mode": "fine:"}) == "fine:ab"


def test_template_that_writes_the_date_is_a_warning_unless_the_date_is_fixed():
    template = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ date_string }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    tokenizer = build_tokenizer(chat_template=template)
    with pytest.warns(UserWarning, match="change from day to day"):
        Renderer(tokenizer)
    fixed = Renderer(tokenizer, chat_template_kwargs={"date_string": "26 Jul 2024"})
    assert fixed.render_text("a", "b") == "26 Jul 2024ab"


@pytest.mark.parametrize(
    "tokenizer", [PLAIN, WITH_BOS, CHATML, LLAMA], ids=["plain", "bos", "chatml", "llama3"]
)
@FEW
@given(prompt=TEXTS, completion=TEXTS)
def test_ids_of_the_rendered_text_are_the_ids_of_the_conversation(tokenizer, prompt, completion):
    renderer = Renderer(tokenizer)
    rendered = renderer.render_text(prompt, completion)
    assert np.array_equal(renderer.token_ids_of_text(rendered), renderer.token_ids(prompt, completion))


@FEW
@given(prompt=TEXTS, completion=TEXTS)
def test_a_text_has_one_bos_and_ends_with_eos(prompt, completion):
    ids = Renderer(WITH_BOS).token_ids(prompt, completion)
    assert ids[-1] == WITH_BOS.eos_token_id
    assert ids[0] == WITH_BOS.bos_token_id
    assert (ids == WITH_BOS.bos_token_id).sum() == 1


def test_saved_rule_renders_as_before():
    renderer = Renderer(CHATML, chat_template_kwargs={"enable_thinking": False})
    restored = Renderer.from_rule(CHATML, RenderingRule.from_json(renderer.rule.to_json()))
    assert restored.rule == renderer.rule
    assert restored.rule.render == "chat"


def test_saved_text_rule_holds_where_a_template_appeared_since():
    rule = Renderer(PLAIN).rule
    assert Renderer.from_rule(CHATML, rule).render_text("a", "b") == "ab</s>"


def test_changed_template_is_an_error_and_not_a_shift_of_rewards():
    rule = Renderer(CHATML).rule
    with pytest.raises(PlauditError, match="every reward would shift"):
        Renderer.from_rule(LLAMA, rule)


def test_text_that_is_no_rule_is_an_error():
    with pytest.raises(PlauditError, match="not a saved rendering rule"):
        RenderingRule.from_json('{"mode": "chat"}')
