"""Prompts with K completions each, for scoring: what best-of-n, evaluation and reinforcement learning ask for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from plaudit.errors import PlauditError
from setting.corpus import read_records
from setting.tokenizer import train_tokenizer

__all__ = ["SCORING_DATA", "K", "PromptSet", "read_prompts"]

K = 16
"""Completions a prompt, where the data has so many (the project's aim is stated for 16)."""

SCORING_DATA: dict[str, tuple[str, ...]] = {
    "hh-rlhf": ("hh-rlhf/harmless.jsonl", "hh-rlhf/helpful.jsonl"),
    "best-of-16": ("best-of-16/samples.jsonl.gz",),
    "alpaca-eval": ("alpaca-eval/pairs.jsonl.gz",),
}
"""``hh-rlhf``: real dialogues, each with its own two answers and answers to other dialogues, K = 16: the lengths are
real (a long shared prompt, short answers), the match is not. ``best-of-16``: one policy's samples, 11 a prompt.
``alpaca-eval``: 16 models' answers to a prompt. The last two have short prompts and long answers."""

MAX_CHARACTERS = 4_000
"""Longer texts are left out (derived: some 1,024 tokens, where training stops as well)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSet:
    """Prompts in random order, each with its completions, and a tokenizer trained on them."""

    name: str
    """Key of `SCORING_DATA`."""
    prompts: tuple[tuple[str, tuple[str, ...]], ...]
    """(prompt, completions)."""
    tokenizer: PreTrainedTokenizerFast
    """Trained on their text."""


def read_prompts(name: str, folder: Path, *, num_prompts: int, seed: int = 0) -> PromptSet:
    """Read prompts with their completions.

    Raises:
        PlauditError: When the file is not there, or has too few.
    """
    read = {"hh-rlhf": _dialogues, "best-of-16": _samples, "alpaca-eval": _answers}[name]
    records = read_records(folder / file for file in SCORING_DATA[name])
    found = list(read(records, random.Random(seed)))
    if len(found) < num_prompts:
        raise PlauditError(
            f"{len(found)} prompts, {num_prompts} wanted", where=name, fix="Ask for fewer prompts."
        )
    tokenizer = train_tokenizer(text for prompt, completions in found for text in (prompt, *completions))
    random.Random(seed).shuffle(found)
    return PromptSet(name=name, prompts=tuple(found[:num_prompts]), tokenizer=tokenizer)


def _dialogues(
    records: Iterator[dict[str, Any]], generator: random.Random
) -> Iterator[tuple[str, tuple[str, ...]]]:
    rows = [row for row in records if len(row["prompt"]) < 3 * MAX_CHARACTERS // 4]
    pool = sorted({row["chosen"] for row in rows if 1 < len(row["chosen"]) < MAX_CHARACTERS // 4})
    for row in rows:
        own = [text for text in (row["chosen"], row["rejected"]) if 1 < len(text) < MAX_CHARACTERS // 4]
        others = [text for text in generator.sample(pool, K) if text not in own]
        yield row["prompt"], tuple(dict.fromkeys(own + others))[:K]


def _samples(
    records: Iterator[dict[str, Any]], generator: random.Random
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for row in records:
        texts = tuple(sample["text"] for sample in row["samples"])
        if all(0 < len(row["prompt"]) + len(text) < MAX_CHARACTERS for text in texts):
            yield row["prompt"], texts


def _answers(
    records: Iterator[dict[str, Any]], generator: random.Random
) -> Iterator[tuple[str, tuple[str, ...]]]:
    by_prompt: dict[str, dict[str, None]] = {}
    for row in records:
        answers = by_prompt.setdefault(row["prompt"], {})
        for text in (row["chosen"], row["rejected"]):
            if text and len(row["prompt"]) + len(text) < MAX_CHARACTERS:
                answers[text] = None
    for prompt, answers in by_prompt.items():
        if len(answers) >= K:
            yield prompt, tuple(islice(answers, K))
