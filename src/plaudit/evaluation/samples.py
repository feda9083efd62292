"""Prompts with several sampled answers of known quality: what best of n is measured on.

Unlike in preference data every sample stays, copies of the same text too: how often a policy says something is
part of what is measured. Records are read from every source that preference data are read from.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from plaudit.errors import PlauditError
from plaudit.evaluation.answers import final_answer, normalise_answer
from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.group import Completion, Prompt
from plaudit.preferences.sources.item import BLANK, Position
from plaudit.preferences.sources.resolve import resolve

__all__ = ["ID_KEYS", "PromptSamples", "number_prompts", "read_samples"]

ID_KEYS = ("id", "question_id")
SAMPLE_KEYS = ("samples", "completions", "responses")
TEXT_KEYS = ("text", "completion", "response", "content")
QUALITY_KEYS = ("is_correct", "correct", "quality", "rating", "ratings", "score", "scores")
_NUMBERED = re.compile(r"response_(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PromptSamples:
    """One prompt and its N samples."""

    prompt: Prompt
    """What was asked."""
    completions: tuple[Completion, ...]
    """The samples, in the form of the prompt."""
    quality: np.ndarray
    """float64 [N]: how good each is, higher is better; 1 and 0 for right and wrong."""
    answers: tuple[str | None, ...]
    """The final answer of each, normalised; None where it gives none."""
    id: str | None
    """The record's name."""
    source: str
    """Where it was read."""


def read_samples(source: str | Path, *, quality: str | None = None) -> list[PromptSamples]:
    """The prompts of a file, folder, glob or hub id.

    A record has ``prompt`` (or ``question``) and its samples as ``samples``, ``completions``, ``responses`` or
    ``response_1``, ``response_2``, ...: texts, or objects with ``text``. Their quality stands in the objects or in
    a list of the record, under ``is_correct``, ``correct``, ``quality``, ``rating(s)`` or ``score(s)``; without
    any, a sample is right when its final answer is the record's ``answer``. A sample's own ``answer``, or a list
    ``answers``, takes the place of what is found in its text.

    Args:
        source: What to read.
        quality: The key of the quality, where it has another name.

    Raises:
        PlauditError: Nothing is there, or a record is bad.
    """
    located, _ = resolve(source, None, {}, False)
    position, prompts = Position(), []
    for part in located.parts:
        for number, value in part.read(position):
            if value is BLANK:
                continue
            where = part.where(number)
            try:
                prompts.append(_parse(value, where, quality))
            except BadRecord as bad:
                raise PlauditError(f"{bad.reason}: {bad.what}", where=where, fix=bad.fix) from bad
    if not prompts:
        raise PlauditError("there are no records", where=str(source), fix="Give prompts with samples.")
    return prompts


def number_prompts(samples: Sequence[PromptSamples]) -> Int[np.ndarray, " record"]:
    """A number for each record, the same where the prompt is the same."""
    numbers: dict[str, int] = {}
    keys = [json.dumps(s.prompt, sort_keys=True, default=str) for s in samples]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _parse(record: Any, where: str, quality_key: str | None) -> PromptSamples:
    if isinstance(record, BadRecord):
        raise record
    if not isinstance(record, dict):
        raise BadRecord("not-an-object", "the record is no object", "Write one JSON object on each line.")
    prompt = _prompt(record)
    items = _items(record)
    completions = tuple(_completion(item, prompt, i) for i, item in enumerate(items))
    texts = [_last_text(completion) for completion in completions]
    answers = tuple(_answers(record, items, texts))
    return PromptSamples(
        prompt=prompt,
        completions=completions,
        quality=np.array(_quality(record, items, answers, quality_key), dtype=np.float64),
        answers=answers,
        id=next((str(record[key]) for key in ID_KEYS if record.get(key) is not None), None),
        source=where,
    )


def _prompt(record: Mapping[str, Any]) -> Prompt:
    for key in ("prompt", "question", "messages"):
        value = record.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
            return tuple(value)
    raise BadRecord(
        "missing-key", f"no prompt; the record has {', '.join(record)}", "Give it as text or messages."
    )


def _items(record: Mapping[str, Any]) -> list[Any]:
    for key in SAMPLE_KEYS:
        if isinstance(record.get(key), list) and record[key]:
            return record[key]
    numbered = sorted((int(m[1]), key) for key in record if (m := _NUMBERED.fullmatch(key)))
    items = [record[key] for _, key in numbered if record[key] is not None]
    if not items:
        raise BadRecord(
            "missing-key",
            f"no samples; the record has {', '.join(record)}",
            f"Give a list of them as one of: {', '.join(SAMPLE_KEYS)}.",
        )
    return items


def _completion(item: Any, prompt: Prompt, index: int) -> Completion:
    value = item
    if isinstance(item, dict) and "role" not in item:
        value = next((item[key] for key in TEXT_KEYS if item.get(key) is not None), None)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, str):
        return value if isinstance(prompt, str) else ({"role": "assistant", "content": value},)
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        if isinstance(prompt, str):
            raise BadRecord(
                "mixed-kinds", f"the prompt is text and sample {index} is messages", "Write both alike."
            )
        return tuple(value)
    raise BadRecord("wrong-type", f"sample {index} has no text", f"Give it under {', '.join(TEXT_KEYS)}.")


def _last_text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else str(completion[-1].get("content") or "")


def _answers(record: Mapping[str, Any], items: Sequence[Any], texts: Sequence[str]) -> Iterator[str | None]:
    beside = record.get("answers")
    if beside is not None and (not isinstance(beside, list) or len(beside) != len(items)):
        raise BadRecord(
            "length-mismatch", f"answers is no list of {len(items)}", "Give one for each sample, or none."
        )
    for index, (item, text) in enumerate(zip(items, texts, strict=True)):
        if beside is not None:
            yield None if beside[index] is None else normalise_answer(str(beside[index]))
        elif isinstance(item, dict) and "answer" in item:
            yield None if item["answer"] is None else normalise_answer(str(item["answer"]))
        else:
            yield final_answer(text)


def _quality(
    record: Mapping[str, Any], items: Sequence[Any], answers: Sequence[str | None], key: str | None
) -> list[float]:
    for name in (key,) if key is not None else QUALITY_KEYS:
        beside = record.get(name)
        if isinstance(beside, list):
            if len(beside) != len(items):
                what = f"{len(beside)} {name} for {len(items)} samples"
                raise BadRecord("length-mismatch", what, "Give one for each sample.")
            return [_number(value, f"{name}[{i}]") for i, value in enumerate(beside)]
        if any(isinstance(item, dict) and name in item for item in items):
            values = [item.get(name) if isinstance(item, dict) else None for item in items]
            return [_number(value, f"{name} of sample {i}") for i, value in enumerate(values)]
    if key is None and record.get("answer") is not None:
        reference = normalise_answer(str(record["answer"]))
        reference = final_answer(str(record["answer"])) or reference
        return [float(answer is not None and answer == reference) for answer in answers]
    sample_keys = sorted({str(name) for item in items if isinstance(item, dict) for name in item})
    raise BadRecord(
        "missing-key",
        f"no {key or 'quality'}: the record has {', '.join(record)}"
        + (f"; its samples have {', '.join(sample_keys)}" if sample_keys else ""),
        "Name the key of the quality: --quality KEY; or give the right answer as answer.",
    )


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    raise BadRecord("bad-rating", f"{name} is {value!r}", "Give a finite number, or true or false.")
