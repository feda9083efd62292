"""Where the prompt ends, decided on token ids."""

from __future__ import annotations

import numpy as np

from plaudit.preferences.group import Comparison, PreferenceGroup
from plaudit.tokens import Renderer, num_shared_tokens, render_groups
from stand_ins.tokenizers import CHATML_TEMPLATE, LLAMA3_LIKE_TEMPLATE, build_tokenizer

PLAIN = build_tokenizer(add_bos=True)
CHATML = build_tokenizer(chat_template=CHATML_TEMPLATE)
LLAMA = build_tokenizer(chat_template=LLAMA3_LIKE_TEMPLATE)


def prompt_text(tokenizer, prompt, completions, index=0) -> str:
    """The text of the tokens that count as prompt."""
    (group,) = render_groups(Renderer(tokenizer), [PreferenceGroup(prompt=prompt, completions=completions)])
    return tokenizer.decode(group.sequences[index][: group.num_prompt_tokens].tolist())


def test_prompt_of_plain_text_is_bos_and_the_prompt():
    assert prompt_text(PLAIN, "2 + 2 =", (" 4", " 5")) == "<s>2 + 2 ="


def test_common_beginning_of_the_completions_is_not_prompt():
    assert prompt_text(PLAIN, "2 + 2 =", (" 4, since", " 4, as")) == "<s>2 + 2 ="


def test_prompt_of_a_chat_reaches_to_where_the_answer_begins():
    expected = "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"
    assert prompt_text(CHATML, "Hello?", ("Yes", "No")) == expected


def test_token_that_spans_prompt_and_completion_is_not_prompt():
    # Learnt merges make one token of "ab" and of "a" alone; the prompt "xa" alone ends with the token "a".
    tokenizer = build_tokenizer(["ab ab ab ab ab ab"])
    assert len(tokenizer("ab")["input_ids"]) == 1
    assert prompt_text(tokenizer, "xa", ("b", "c")) == "x"


def test_template_that_refuses_a_prompt_alone_leaves_no_prompt_tokens():
    template = (
        "{% if messages[-1]['role'] != 'assistant' %}{{ raise_exception('no answer') }}{% endif %}"
        "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    assert prompt_text(build_tokenizer(chat_template=template), "Hello?", ("Yes", "No")) == ""


def test_empty_completion_leaves_its_end_of_sequence_out_of_the_prompt():
    assert prompt_text(PLAIN, "Hello", ("", " there")) == "<s>Hello"


def test_tools_are_part_of_the_prompt():
    group = PreferenceGroup(prompt="Hello?", completions=("Yes", "No"), tools=({"name": "weather"},))
    (rendered,) = render_groups(Renderer(LLAMA), [group])
    prompt = LLAMA.decode(rendered.sequences[0][: rendered.num_prompt_tokens].tolist())
    assert prompt.startswith('<s><|start_header_id|>tools<|end_header_id|>\n\n[{"name": "weather"}]')
    assert prompt.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")


def test_batch_of_groups_equals_one_at_a_time():
    renderer = Renderer(CHATML)
    groups = [
        PreferenceGroup(prompt=f"{i} + {i} =", completions=tuple(str(k) for k in range(i, i + 3)))
        for i in range(5)
    ]
    for group, rendered in zip(groups, render_groups(renderer, groups), strict=True):
        alone = [renderer.token_ids(group.prompt, completion) for completion in group.completions]
        assert [ids.tolist() for ids in rendered.sequences] == [ids.tolist() for ids in alone]


def test_comparisons_and_ratings_come_along():
    group = PreferenceGroup(
        prompt="a",
        completions=("b", "c"),
        comparisons=(Comparison(better=1, worse=0, margin=0.5, weight=2.0, is_tie=True),),
        ratings=(0.25, None),
    )
    (rendered,) = render_groups(Renderer(PLAIN), [group], rows=[7])
    assert (rendered.better.tolist(), rendered.worse.tolist()) == ([1], [0])
    assert (rendered.margin.tolist(), rendered.weight.tolist(), rendered.is_tie.tolist()) == (
        [0.5],
        [2.0],
        [True],
    )
    np.testing.assert_array_equal(rendered.ratings, np.array([0.25, np.nan], dtype=np.float32))
    assert rendered.row == 7


def test_shared_tokens_of_a_beginning_are_all_of_it():
    assert num_shared_tokens(np.array([1, 2]), np.array([1, 2, 3])) == 2
    assert num_shared_tokens(np.array([], dtype=np.int32), np.array([1])) == 0
