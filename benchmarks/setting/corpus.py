"""Preference data as token groups, and batches of the same comparisons for every side.

A batch is a list of token groups. A side that knows pairs only gets one row per comparison of the same groups, in
the same order; so both sides learn from the same comparisons in the same step.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from plaudit.errors import PlauditError
from plaudit.preferences import PreferenceGroup, read_preferences
from plaudit.tokens import LengthLimits, Renderer, TokenGroup, tokenize_preferences
from setting.tokenizer import train_tokenizer

__all__ = [
    "DATA",
    "GROUPED",
    "PROJECT",
    "Corpus",
    "default_data_folder",
    "make_batches",
    "pair_rows",
    "read_corpus",
    "read_records",
]

PROJECT = Path(__file__).resolve().parents[2]

MAX_LENGTH = 1_024
"""Longest sequence in tokens, longer pairs are left out (derived: the default of TRL and of plaudit)."""

DATA: dict[str, tuple[str, ...]] = {
    "hh-rlhf": ("hh-rlhf/harmless.jsonl", "hh-rlhf/helpful.jsonl"),
    "gsm8k-pairs": ("gsm8k/samples.jsonl",),
    "gsm8k-groups": ("gsm8k/samples.jsonl",),
    "ultrafeedback": ("ultrafeedback/train.jsonl",),
    "humanevalpack": ("humanevalpack/pairs.jsonl",),
}
"""Files by name of the benchmark's data, under the data folder."""

GROUPED = frozenset({"gsm8k-groups"})
"""Where plaudit takes all comparisons of a prompt as one group. Elsewhere every comparison is a row of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Token groups and the tokenizer that was trained on their text."""

    name: str
    """Key of `DATA`."""
    groups: tuple[TokenGroup, ...]
    """Groups in random order, ties left out; where not `GROUPED`, each is one pair."""
    tokenizer: PreTrainedTokenizerFast
    """Trained on the prompts and completions."""


def default_data_folder() -> Path:
    """The folder of real data beside the checkout."""
    return PROJECT.parent / "shared" / "data"


def read_corpus(name: str, folder: Path, *, seed: int = 0, max_records: int | None = None) -> Corpus:
    """Read, train a tokenizer, tokenise, shuffle.

    Args:
        name: Key of `DATA`.
        folder: Where its files are.
        seed: Of the shuffle.
        max_records: Read only the first so many records of each file.

    Raises:
        PlauditError: When a file is not there.
    """
    records = read_records((folder / file for file in DATA[name]), max_records)
    preferences = read_preferences(records, transcripts="text", on_bad_record="skip", progress=False)
    tokenizer = train_tokenizer(text for group in preferences for text in _texts(group))
    limits = LengthLimits(max_length=MAX_LENGTH)
    table = tokenize_preferences(preferences, Renderer(tokenizer), limits, progress=False)
    split = _without_ties if name in GROUPED else _as_pairs
    groups = [part for group in table for part in split(group)]
    random.Random(seed).shuffle(groups)
    return Corpus(name=name, groups=tuple(groups), tokenizer=tokenizer)


def make_batches(
    groups: Sequence[TokenGroup], *, name: str, num_batches: int, batch_size: int
) -> list[list[TokenGroup]]:
    """Batches in order; each takes groups until it has at least ``batch_size`` comparisons.

    Raises:
        PlauditError: When there is not enough data.
    """
    batches: list[list[TokenGroup]] = [[]]
    for group in groups:
        batches[-1].append(group)
        if sum(len(part.better) for part in batches[-1]) >= batch_size:
            if len(batches) == num_batches:
                return batches
            batches.append([])
    raise PlauditError(
        f"{len(batches) - 1} batches of {batch_size} comparisons can be filled, not {num_batches}",
        where=name,
        fix="Ask for fewer batches, or give more data.",
    )


def read_records(paths: Iterable[Path], max_records: int | None = None) -> Iterator[dict[str, Any]]:
    """The records of JSON lines files, one after the other, at most so many of each.

    Raises:
        PlauditError: When a file is not there.
    """
    for path in paths:
        if not path.is_file():
            raise PlauditError("no such file", where=str(path), fix="Give its folder with --data-folder.")
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, islice(lines, max_records))


def pair_rows(groups: Sequence[TokenGroup]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(better, worse) ids of every comparison, in order: what a trainer of pairs is given."""
    return [
        (group.sequences[better], group.sequences[worse])
        for group in groups
        for better, worse in zip(group.better.tolist(), group.worse.tolist(), strict=True)
    ]


def _texts(group: PreferenceGroup) -> list[str]:
    return [str(group.prompt), *map(str, group.completions)]


def _without_ties(group: TokenGroup) -> Iterator[TokenGroup]:
    if not group.is_tie.all():
        yield _select(group, np.flatnonzero(~group.is_tie))


def _as_pairs(group: TokenGroup) -> Iterator[TokenGroup]:
    for index in np.flatnonzero(~group.is_tie):
        chosen, rejected = group.sequences[group.better[index]], group.sequences[group.worse[index]]
        pair = _select(group, np.array([index]))
        yield replace(
            pair,
            sequences=(chosen, rejected),
            better=np.zeros(1, dtype=np.int32),
            worse=np.ones(1, dtype=np.int32),
            ratings=None,
            completion_index=None,
        )


def _select(group: TokenGroup, comparisons: np.ndarray) -> TokenGroup:
    """The group with some of its comparisons, margins and weights as a trainer of pairs has them: 0 and 1."""
    num = len(comparisons)
    return replace(
        group,
        better=group.better[comparisons],
        worse=group.worse[comparisons],
        margin=np.zeros(num, dtype=np.float32),
        weight=np.ones(num, dtype=np.float32),
        is_tie=np.zeros(num, dtype=np.bool_),
        comparison_index=None,
    )
