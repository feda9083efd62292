"""Final answers as people write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plaudit.evaluation.answers import final_answer, normalise_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so she has 18 left\n#### 18", "18"),
        ("She makes $18.\nA: 18", "18"),
        ("Answer: (C)", "c"),
        ("The answer is 1,234.50.", "1234.5"),
        ("First the answer is 3. No: the final answer is 4.", "4"),
        (r"Thus \boxed{12}. Check: \boxed{\frac{3}{4}}", r"\frac{3}{4}"),
        (r"\boxed{\text{Paris}}", "paris"),
        ("**Answer:** 7", "7"),
        ("A cat sat.", None),
        ("a = 5\nb = 6\nso a + b = 11", None),
        ("Answer: B\nA: one\nB: two", "b"),
        ("The final answer is 4.\nA: one", "4"),
        ("Answer = 9", "9"),
        ("The answer is not obvious.", None),
        ("The answer is not obvious.\nA: 12", "12"),
        ("The answer is nothing.", "nothing"),
        ("", None),
        (r"\boxed{12", None),
        ("#### ", None),
    ],
)
def test_final_answer(text: str, answer: str | None):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("one", "other"),
    [("18", "18.0"), ("1,000", "1000"), ("$5", "5"), ("-0", "0"), ("007", "7"), ("50%", "50")],
)
def test_the_same_number_is_the_same_answer(one: str, other: str):
    assert normalise_answer(one) == normalise_answer(other)


def test_different_answers_stay_different():
    assert len({normalise_answer(a) for a in ("1", "-1", "10", "1.5", "1/2", "x", "A")}) == 7


def test_answers_of_real_solutions_agree_with_their_verdicts(shared_data: Path):
    agree = total = 0
    for line in (shared_data / "gsm8k" / "samples.jsonl").read_text().splitlines()[:300]:
        record = json.loads(line)
        reference = final_answer(record["reference"])
        for sample in record["samples"]:
            total += 1
            agree += (final_answer(sample["text"]) == reference) == sample["is_correct"]
    assert agree / total > 0.99
