"""Groups of made-up tokens that have the lengths of real data, so that no data need travel to a GPU machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plaudit.tokens import TokenGroup

__all__ = ["LENGTHS", "group_of_lengths", "read_lengths"]

LENGTHS: dict[str, tuple[int, int, int]] = {
    "hh-rlhf": (110, 60, 2),
    "gsm8k": (85, 110, 4),
    "ultrafeedback": (110, 300, 2),
}
"""Prompt tokens, answer tokens, answers a prompt (assumed, rounded from the data's medians at vocabulary 16,384);
`read_lengths` replaces them by a file's own."""

FIRST_TOKEN = 3
"""Ids below are special."""


def group_of_lengths(
    num_prompt: int, completions: list[int], *, vocabulary: int, rng: np.random.Generator
) -> TokenGroup:
    """A group of random tokens: every earlier completion is better than every later one."""
    prompt = rng.integers(FIRST_TOKEN, vocabulary, num_prompt)
    sequences = [np.concatenate([prompt, rng.integers(FIRST_TOKEN, vocabulary, n)]) for n in completions]
    pairs = [(i, j) for i in range(len(completions)) for j in range(i + 1, len(completions))]
    better, worse = np.array(pairs, dtype=np.int32).T
    return TokenGroup(
        sequences=tuple(ids.astype(np.int32) for ids in sequences),
        num_prompt_tokens=num_prompt,
        better=better,
        worse=worse,
        margin=np.zeros(len(pairs), dtype=np.float32),
        weight=np.ones(len(pairs), dtype=np.float32),
        is_tie=np.zeros(len(pairs), dtype=np.bool_),
    )


def read_lengths(name: str, file: Path | None, *, seed: int = 0) -> Iterator[tuple[int, list[int]]]:
    """(prompt tokens, tokens of each completion) of group after group, for ever.

    Args:
        name: A key of `LENGTHS`.
        file: JSON lines ``{"data": name, "prompt": 12, "completions": [30, 41]}`` instead of it.
        seed: Of the spread around `LENGTHS`.
    """
    if file is not None:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        rows = [(line["prompt"], line["completions"]) for line in lines if line["data"] == name]
        while rows:
            yield from rows
        return
    rng = np.random.default_rng(seed)
    num_prompt, num_answer, num_completions = LENGTHS[name]
    while True:
        spread = rng.lognormal(0.0, 0.6, 1 + num_completions)
        lengths = np.maximum(1, spread * [num_prompt, *[num_answer] * num_completions]).astype(int).tolist()
        yield lengths[0], lengths[1:]
