"""Planted leaks are found and named, clean data are clean; runs of words against a plain set of tuples."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.evaluation.leaks import find_leaks
from plaudit.evaluation.word_runs import GRAM_WORDS, words_of
from plaudit.preferences import read_preferences
from plaudit.preferences.group import PreferenceGroup
from stand_ins.comparisons import text_group

WORDS = [f"w{i}" for i in range(2000)]


def text(seed: int, num_words: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=num_words))


def test_nothing_in_common_is_nothing_found():
    report = find_leaks([text_group(text(1), [text(2), text(3)])], [text_group(text(4), [text(5), text(6)])])
    assert (report.rows, report.num_rows, report.num_training_rows) == ((), 1, 1)
    assert report.num_overlapping == report.num_prompts_equal == report.num_completions_equal == 0


def test_equal_prompt_is_found_whatever_its_case_and_punctuation():
    report = find_leaks(
        [text_group("What's   two, and TWO?", ["x", "y"], source="train:7")],
        [text_group("other", ["a", "b"]), text_group("what s two and two", ["c", "d"], source="test:2")],
    )
    (row,) = report.rows
    assert (row.row, row.source, row.found_in, row.is_prompt_equal) == (1, "test:2", "train:7", True)
    assert math.isnan(row.prompt_overlap) and report.num_too_short == 2


def test_equal_completion_is_counted_once_a_row():
    report = find_leaks(
        [text_group("p", ["Yes, it is so now.", "No"]), text_group("q", ["yes it is so now", "x"])],
        [text_group("r", ["YES it is so NOW", "never"])],
    )
    assert (report.num_completions_equal, report.rows[0].num_completions_equal) == (1, 1)
    assert report.num_prompts_equal == 0


def test_thirteen_words_are_found_in_the_middle_and_twelve_are_not():
    words = text(1).split()
    for num, found in ((13, 1), (12, 0)):
        inside = " ".join([*text(2).split(), *words[5 : 5 + num], *text(3).split()])
        report = find_leaks([text_group(inside, ["a", "b"])], [text_group(" ".join(words), ["c", "d"])])
        assert report.num_overlapping == found
    # One of the 28 runs of 13 in 40 words, above; and of the completions there are none.
    report = find_leaks(
        [text_group("p", [" ".join(words[5:18]), "b"])], [text_group(" ".join(words), ["c", "d"])]
    )
    assert report.rows[0].prompt_overlap == 1 / 28
    assert math.isnan(report.rows[0].completion_overlap)


def test_words_of_a_template_are_left_out_and_counted():
    template = text(0, 20)
    rows = [text_group(f"{template} {text(i)}", [text(1000 + i), "b"]) for i in range(1, 30)]
    report = find_leaks([text_group(template, ["c", "d"])], rows)
    assert report.num_overlapping == 0
    assert report.num_template_grams == 20 - GRAM_WORDS + 1


def test_words_in_ten_rows_are_no_template_yet():
    shared = text(0, 20)
    rows = [text_group(f"{shared} {text(i)}", [text(1000 + i), "b"]) for i in range(1, 11)]
    report = find_leaks([text_group(shared, ["c", "d"])], rows)
    assert (report.num_overlapping, report.num_template_grams) == (10, 0)


@pytest.mark.parametrize("num_rows", [10, 11, 42])
def test_one_prompt_in_many_rows_is_no_template(num_rows: int):
    # K-wise data, answers and all: each row of the prompt has the same completion, and others of its own.
    long, answer = text(0, 60), text(1, 60)
    rows = [text_group(f"{long} what?", [f"{answer} indeed", f"bad {i}"]) for i in range(num_rows)]
    for training in (text_group(f"Note. {long}", ["x", "y"]), text_group("Else", [f"Note. {answer}", "y"])):
        report = find_leaks([training], rows)
        assert (report.num_overlapping, report.num_template_grams, report.num_too_short) == (num_rows, 0, 0)


def test_rows_of_two_prompts_by_turns_are_two_prompts():
    shared = text(0, 20)
    rows = [text_group(f"{shared} {'ab'[i % 2]}", [f"good {i}", f"bad {i}"]) for i in range(12)]
    report = find_leaks([text_group(shared, ["c", "d"])], rows)
    assert (report.num_overlapping, report.num_template_grams) == (12, 0)


def test_rows_of_a_templates_words_alone_are_not_called_short():
    rows = [text_group(f"{text(0, 20)} {i}", [f"good {i}", "b"]) for i in range(11)]
    report = find_leaks([text_group(text(0, 20), ["c", "d"])], [*rows, text_group("short", ["e", "f"])])
    # Each row has one run of its own, the one that ends in its number.
    assert (report.num_too_short, report.num_template_only, report.num_overlapping) == (1, 0, 0)
    rows = [text_group(str(i), [text(0, 20), "b"]) for i in range(11)]
    report = find_leaks([text_group("p", [text(0, 20), "d"])], rows)
    assert (report.num_too_short, report.num_template_only, report.num_overlapping) == (0, 11, 0)


def test_yes_and_no_are_no_leaks_and_are_counted():
    rows = [text_group(f"Is {i} a prime number?", ["Yes.", "No, it is not."]) for i in range(3)]
    report = find_leaks([text_group("Is it?", ["Yes.", "No, it is not."])], rows)
    assert (report.rows, report.num_completions_equal, report.num_completions_left_out) == ((), 0, 6)


def test_a_completion_with_more_than_ten_prompts_is_no_leak():
    refusal = "I am sorry, but I cannot help with that."
    for num_prompts, found in ((10, 10), (11, 0)):
        rows = [text_group(f"ask {i}", [refusal, f"no answer to it {i}"]) for i in range(num_prompts)]
        report = find_leaks([text_group("else", [refusal, "b"])], rows)
        assert report.num_completions_equal == len(report.rows) == found
        assert report.num_completions_left_out == num_prompts - found
    same_prompt = [text_group("ask", [refusal, f"no answer to it {i}"]) for i in range(11)]
    assert find_leaks([text_group("else", [refusal, "b"])], same_prompt).num_completions_equal == 11


def test_a_copied_chinese_passage_is_found():
    passage = "今天我们讨论的是如何在没有网络的情况下训练一个很大的奖励模型并且评估它的准确率"
    rows = [text_group(f"{passage}请问你怎么看", ["好", "坏"])]
    assert find_leaks([text_group(f"前言{passage}后记", ["一", "二"])], rows).num_overlapping == 1


word = st.sampled_from(["a", "b"])
texts = st.lists(word, max_size=18).map(" ".join)


@settings(max_examples=40)
@given(st.lists(texts, max_size=4), st.lists(texts, min_size=1, max_size=4))
def test_overlap_equals_sets_of_tuples(training: list[str], evaluation: list[str]):
    def grams(t: str) -> set[tuple[str, ...]]:
        w = words_of(t)
        return {tuple(w[i : i + GRAM_WORDS]) for i in range(len(w) - GRAM_WORDS + 1)}

    known = set().union(*map(grams, training))
    report = find_leaks(
        [PreferenceGroup(prompt=t, completions=()) for t in training],
        [PreferenceGroup(prompt=t, completions=()) for t in evaluation],
    )
    expected = {
        i: len(grams(t) & known) / len(grams(t)) for i, t in enumerate(evaluation) if grams(t) & known
    }
    assert {r.row: r.prompt_overlap for r in report.rows if r.prompt_overlap > 0} == expected
    assert report.num_overlapping == len(expected)


def test_messages_are_compared_by_what_they_say():
    said = text(1)
    messages = PreferenceGroup(
        prompt=({"role": "user", "content": said},),
        completions=(({"role": "assistant", "content": "x"},), ({"role": "assistant", "content": "y"},)),
    )
    assert find_leaks([messages], [text_group(said, ["a", "b"])]).num_prompts_equal == 1


def test_a_planted_row_is_found_in_real_data(shared_data: Path):
    test = read_preferences(shared_data / "ultrafeedback" / "test.jsonl", progress=False)
    train = read_preferences(shared_data / "llmbar" / "pairs.jsonl", progress=False)
    before = find_leaks(train, test)
    planted = [*train, test[17]]
    after = find_leaks(planted, test)
    new = {row.row for row in after.rows} - {row.row for row in before.rows}
    assert 17 in new | {row.row for row in before.rows}
    row = next(row for row in after.rows if row.row == 17)
    assert row.is_prompt_equal and (row.prompt_overlap == 1.0 or math.isnan(row.prompt_overlap))
