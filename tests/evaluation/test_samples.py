"""Prompts with samples, as people keep them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plaudit.errors import PlauditError
from plaudit.evaluation.samples import PromptSamples, number_prompts, read_samples


def read(folder: Path, *records: dict, quality: str | None = None) -> list[PromptSamples]:
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_samples(path, quality=quality)


@pytest.mark.parametrize(
    "record",
    [
        {
            "prompt": "p",
            "samples": [{"text": "A: 4", "is_correct": True}, {"text": "A: 5", "is_correct": False}],
        },
        {"prompt": "p", "completions": ["A: 4", "A: 5"], "correct": [True, False]},
        {"prompt": "p", "responses": ["A: 4", "A: 5"], "scores": [1, 0]},
        {"question": "p", "response_1": "A: 4", "response_2": "A: 5", "scores": [True, False]},
        {"prompt": "p", "completions": ["A: 4", "A: 5"], "answer": "4"},
        {"prompt": "p", "completions": ["A: 4", "A: 5"], "answer": "2 + 2 = 4\n#### 4"},
    ],
)
def test_every_form_gives_the_same_samples(tmp_path: Path, record: dict):
    (found,) = read(tmp_path, record)
    assert (found.prompt, found.completions, found.answers) == ("p", ("A: 4", "A: 5"), ("4", "5"))
    assert found.quality.tolist() == [1.0, 0.0]
    assert found.source.endswith("samples.jsonl:1")


def test_copies_of_a_text_stay_samples(tmp_path: Path):
    (found,) = read(tmp_path, {"prompt": "p", "completions": ["a", "a", "b"], "scores": [1, 1, 0]})
    assert len(found.completions) == 3


def test_ten_responses_keep_their_order(tmp_path: Path):
    record = {"prompt": "p", "scores": list(range(11))} | {f"response_{i}": f"r{i}" for i in range(1, 12)}
    (found,) = read(tmp_path, record)
    assert found.completions[1:3] == ("r2", "r3") and found.completions[-1] == "r11"


def test_quality_by_another_name_and_own_answers(tmp_path: Path):
    samples = [{"text": "x", "p_win": 0.25, "answer": "7.0"}, {"text": "y", "p_win": 0.5, "answer": None}]
    (found,) = read(tmp_path, {"prompt": "p", "samples": samples, "id": 3}, quality="p_win")
    assert (found.quality.tolist(), found.answers, found.id) == ([0.25, 0.5], ("7", None), "3")


def test_texts_to_a_prompt_of_messages_become_turns(tmp_path: Path):
    prompt = [{"role": "user", "content": "p"}]
    (found,) = read(tmp_path, {"prompt": prompt, "completions": ["A: 1"], "scores": [1]})
    assert found.completions == (({"role": "assistant", "content": "A: 1"},),)
    assert found.answers == ("1",)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"completions": ["a"], "scores": [1]}, "no prompt"),
        ({"prompt": "p", "scores": [1]}, "no samples"),
        ({"prompt": "p", "completions": ["a"]}, "--quality KEY"),
        ({"prompt": "p", "completions": ["a"], "scores": [1, 2]}, "2 scores for 1 samples"),
        ({"prompt": "p", "completions": ["a"], "scores": ["good"]}, "scores[0] is 'good'"),
        (
            {"prompt": "p", "samples": [{"text": "a", "rating": 1}, {"text": "b"}]},
            "rating of sample 1 is None",
        ),
        ({"prompt": "p", "completions": [{"x": 1}], "scores": [1]}, "sample 0 has no text"),
        (
            {"prompt": "p", "completions": ["a"], "scores": [1], "answers": ["1", "2"]},
            "answers is no list of 1",
        ),
    ],
)
def test_a_bad_record_names_its_line_and_what_is_wrong(tmp_path: Path, record: dict, said: str):
    good = {"prompt": "p", "completions": ["a"], "scores": [1]}
    with pytest.raises(PlauditError) as caught:
        read(tmp_path, good, record)
    assert "samples.jsonl:2" in str(caught.value) and said in str(caught.value)


def test_real_samples_are_read_with_their_quality(shared_data: Path):
    gsm8k = read_samples(shared_data / "gsm8k" / "samples.jsonl")
    assert (len(gsm8k), {len(s.completions) for s in gsm8k}) == (1319, {4})
    judged = read_samples(shared_data / "best-of-16" / "samples.jsonl.gz", quality="p_win_vs_ref")
    assert len(judged) == 379
    assert all((s.quality >= 0).all() and (s.quality <= 1).all() for s in judged)


def test_equal_prompts_have_one_number(tmp_path: Path):
    turns = [{"role": "user", "content": "p"}]
    turned = [{"content": "p", "role": "user"}]
    prompts = ["p", "q", "p", turns, turned]
    records = [{"prompt": prompt, "samples": ["a"], "quality": [1]} for prompt in prompts]
    assert number_prompts(read(tmp_path, *records)).tolist() == [0, 1, 0, 2, 2]
