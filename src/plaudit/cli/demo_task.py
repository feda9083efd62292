"""The demo's task: sort six numbers. Questions, a solver that slips, and the check that says who is right.

A solver sorts by insertion and misjudges one comparison in fourteen, so that right and wrong answers hold the same
numbers in the same form, and only their order tells them apart. After the answer it closes with one of four
remarks, drawn without looking at the answer: lengths differ, and say nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["NUM_SAMPLES", "make_records", "verify"]

NUM_NUMBERS = 6
NUM_SAMPLES = 8
"""Answers drawn for each question."""

SLIP_RATE = 1 / 14
"""Chance that a comparison is misjudged (chosen: about four answers in ten come out right)."""

REMARKS = ("", " Done.", " That is all.", " I hope this helps.")


def make_records(num_questions: int, *, seed: int) -> Iterator[dict[str, Any]]:
    """Distinct questions, each with sampled answers and the verdict on each.

    >>> record = next(make_records(1, seed=0))
    >>> record["prompt"], len(record["samples"])
    ('Sort: 59 63 15 43 75 72.', 8)
    """
    rng = random.Random(seed)
    asked: set[tuple[int, ...]] = set()
    while len(asked) < num_questions:
        numbers = tuple(rng.sample(range(10, 100), NUM_NUMBERS))
        if numbers in asked:
            continue
        asked.add(numbers)
        record = {"prompt": f"Sort: {_spelled(numbers)}.", "numbers": list(numbers)}
        answers = [_answer(numbers, rng) for _ in range(NUM_SAMPLES)]
        yield record | {"samples": [{"text": text, "is_correct": verify(record, text)} for text in answers]}


def verify(record: Mapping[str, Any], text: str) -> bool:
    """Whether an answer names the question's numbers in ascending order; its closing remark does not matter.

    >>> verify({"numbers": [31, 12, 25]}, " 12 25 31. Done."), verify({"numbers": [31, 12, 25]}, " 12 31 25.")
    (True, False)
    """
    return text.split(".")[0].split() == [str(number) for number in sorted(record["numbers"])]


def _answer(numbers: Sequence[int], rng: random.Random) -> str:
    placed: list[int] = []
    for number in numbers:
        place = len(placed)
        while place > 0 and _is_judged_larger(placed[place - 1], number, rng):
            place -= 1
        placed.insert(place, number)
    return f" {_spelled(placed)}.{rng.choice(REMARKS)}"


def _is_judged_larger(one: int, other: int, rng: random.Random) -> bool:
    return (one > other) != (rng.random() < SLIP_RATE)


def _spelled(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
