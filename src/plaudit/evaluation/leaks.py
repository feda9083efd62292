"""Whether evaluation data stand in training data: equal texts, and words in a row that both have.

Guarantees: memory holds the evaluation data's hashes, some 17 bytes for each of their words, whatever the size of
the training data, which are read once as a stream; a text of which 13 words in a row stand in the training data is
found whatever stands around them. Two different runs of words have the same hash once in 2^64.

Texts are compared as words: lower case, letters and digits only. Thirteen words are the rule of GPT-3 (T. Brown et
al., arXiv:2005.14165, appendix C). As there, words in a row that are everywhere are not held against a text: those
in more than `MAX_ROWS_PER_GRAM` rows of the evaluation data are a template's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt64

from plaudit.evaluation.said import said
from plaudit.preferences.group import PreferenceGroup

__all__ = ["LeakIndex", "LeakReport", "LeakedRow", "find_leaks", "words_of"]

GRAM_WORDS = 13
"""Words in a row (paper: arXiv:2005.14165, appendix C)."""

MAX_ROWS_PER_GRAM = 10
"""Rows of the evaluation data in which a run of words may stand before it is a template's (paper: the same)."""

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakedRow:
    """An evaluation row with something in the training data."""

    row: int
    """Its number in the evaluation data, from 0."""
    source: str
    """Where it was read."""
    subset: str | None
    """Its subset."""
    id: str | None
    """Its name."""
    is_prompt_equal: bool
    """Whether its whole prompt is a prompt of the training data."""
    num_completions_equal: int
    """Its completions that are completions of the training data as a whole."""
    prompt_overlap: float
    """Share of its prompt's runs of 13 words that stand in the training data; NaN where it has none."""
    completion_overlap: float
    """The same for all its completions together."""
    found_in: str
    """The first training record that has something of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakReport:
    """What was found."""

    num_rows: int
    """Rows of the evaluation data."""
    num_training_rows: int
    """Records of the training data."""
    num_prompts_equal: int
    """Rows whose whole prompt is in the training data."""
    num_completions_equal: int
    """Rows with at least one whole completion in the training data."""
    num_overlapping: int
    """Rows with at least one run of 13 words in the training data."""
    num_too_short: int
    """Rows without any run of 13 words: only equal texts can be found there."""
    num_template_grams: int
    """Runs of words left out, since they stand in more than `MAX_ROWS_PER_GRAM` rows."""
    rows: tuple[LeakedRow, ...]
    """Every row with something, in order of the data."""


def find_leaks(training: Iterable[PreferenceGroup], evaluation: Iterable[PreferenceGroup]) -> LeakReport:
    """Look for the evaluation data in the training data.

    Args:
        training: Read once.
        evaluation: Read once.

    >>> group = PreferenceGroup(prompt="What is two and two?", completions=("Four.", "Five."))
    >>> find_leaks([group], [group]).num_prompts_equal
    1
    """
    index = LeakIndex(evaluation)
    for group in training:
        index.look_up(group)
    return index.report()


def words_of(text: str) -> list[str]:
    """The words that are compared.

    >>> words_of("It's 3.5, isn't_it?")
    ['it', 's', '3', '5', 'isn', 't', 'it']
    """
    return _WORD.findall(text.lower())


@dataclass(slots=True)
class _Row:
    """What is known of one evaluation row."""

    source: str
    subset: str | None
    id: str | None
    is_prompt_equal: bool = False
    completions_equal: set[int] = field(default_factory=set)
    found_in: str = ""


class LeakIndex:
    """The hashes of the evaluation data, and what of them was met in the training data so far."""

    def __init__(self, evaluation: Iterable[PreferenceGroup]) -> None:
        self._rows: list[_Row] = []
        self._prompts: dict[bytes, list[int]] = {}
        self._completions: dict[bytes, list[tuple[int, int]]] = {}
        self.num_training_rows = 0
        hashes: list[np.ndarray] = []
        owners: list[np.ndarray] = []
        for row, group in enumerate(evaluation):
            self._rows.append(_Row(group.source, group.subset, group.id))
            for part, grams in enumerate(self._add(row, group)):
                hashes.append(grams)
                owners.append(np.full(len(grams), 2 * row + min(part, 1), dtype=np.int64))
        self._build(_joined(hashes, np.uint64), _joined(owners, np.int64))

    def look_up(self, group: PreferenceGroup) -> None:
        """Mark what one training record has of the evaluation data."""
        self.num_training_rows += 1
        prompt_words, completion_words = _words_of_group(group)
        for row in self._prompts.get(_digest(prompt_words), ()):
            self._rows[row].is_prompt_equal = True
            self._note(row, group.source)
        for words in completion_words:
            for row, completion in self._completions.get(_digest(words), ()):
                self._rows[row].completions_equal.add(completion)
                self._note(row, group.source)
        grams = [_grams(words) for words in (prompt_words, *completion_words)]
        self._look_up_grams(np.concatenate(grams), group.source)

    def report(self) -> LeakReport:
        """What was found so far."""
        is_counted = ~self._is_template
        owner = self._owner[is_counted]
        totals = np.bincount(owner, minlength=2 * len(self._rows)).reshape(-1, 2)
        met = np.bincount(owner[self._is_met[is_counted]], minlength=2 * len(self._rows)).reshape(-1, 2)
        shares = np.divide(met, totals, out=np.full(totals.shape, np.nan), where=totals > 0)
        rows = [
            LeakedRow(
                row=number,
                source=row.source,
                subset=row.subset,
                id=row.id,
                is_prompt_equal=row.is_prompt_equal,
                num_completions_equal=len(row.completions_equal),
                prompt_overlap=float(shares[number, 0]),
                completion_overlap=float(shares[number, 1]),
                found_in=row.found_in,
            )
            for number, row in enumerate(self._rows)
            if row.found_in
        ]
        return LeakReport(
            num_rows=len(self._rows),
            num_training_rows=self.num_training_rows,
            num_prompts_equal=sum(row.is_prompt_equal for row in rows),
            num_completions_equal=sum(row.num_completions_equal > 0 for row in rows),
            num_overlapping=int(np.count_nonzero(met.sum(axis=1))),
            num_too_short=int(np.count_nonzero(totals.sum(axis=1) == 0)),
            num_template_grams=self._num_template_grams,
            rows=tuple(rows),
        )

    def _add(self, row: int, group: PreferenceGroup) -> Iterator[UInt64[np.ndarray, " _gram"]]:
        """Note the whole texts of a row; the distinct runs of words of its prompt, then of its completions."""
        prompt_words, completion_words = _words_of_group(group)
        if prompt_words:
            self._prompts.setdefault(_digest(prompt_words), []).append(row)
        for completion, words in enumerate(completion_words):
            if words:
                self._completions.setdefault(_digest(words), []).append((row, completion))
        yield np.unique(_grams(prompt_words))
        yield np.unique(_joined([_grams(words) for words in completion_words], np.uint64))

    def _build(self, hashes: UInt64[np.ndarray, " gram"], owner: Int[np.ndarray, " gram"]) -> None:
        order = np.lexsort((owner, hashes))
        self._hashes, self._owner = hashes[order], owner[order]
        self._is_met = np.zeros(len(order), dtype=np.bool_)
        starts = np.flatnonzero(np.diff(self._hashes, prepend=~self._hashes[:1]) != 0)
        run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        # Prompt and completions of a row are neighbours here; a row counts once.
        is_new_row = np.ones(len(order), dtype=np.bool_)
        is_new_row[1:] = (np.diff(run) != 0) | (np.diff(self._owner // 2) != 0)
        num_rows = np.bincount(run, weights=is_new_row, minlength=len(starts))
        self._num_template_grams = int(np.count_nonzero(num_rows > MAX_ROWS_PER_GRAM))
        self._is_template = (num_rows > MAX_ROWS_PER_GRAM)[run]

    def _look_up_grams(self, grams: UInt64[np.ndarray, " gram"], source: str) -> None:
        if not len(grams) or not len(self._hashes):
            return
        grams = np.unique(grams)
        first = np.searchsorted(self._hashes, grams, side="left")
        last = np.searchsorted(self._hashes, grams, side="right")
        for start, end in zip(first[last > first].tolist(), last[last > first].tolist(), strict=True):
            if self._is_template[start]:
                continue
            self._is_met[start:end] = True
            for owner in self._owner[start:end].tolist():
                self._note(owner // 2, source)

    def _note(self, row: int, source: str) -> None:
        self._rows[row].found_in = self._rows[row].found_in or source or f"record {self.num_training_rows}"


def _words_of_group(group: PreferenceGroup) -> tuple[list[str], list[list[str]]]:
    return words_of(said(group.prompt)), [words_of(said(completion)) for completion in group.completions]


def _digest(words: Sequence[str]) -> bytes:
    return hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _grams(words: Sequence[str]) -> UInt64[np.ndarray, " _gram"]:
    """The hash of every run of `GRAM_WORDS` words: a polynomial of the words' own hashes, modulo 2^64."""
    if len(words) < GRAM_WORDS:
        return np.empty(0, dtype=np.uint64)
    single = np.array([_hash_word(word) for word in words], dtype=np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(single, GRAM_WORDS)
    with np.errstate(over="ignore"):
        return (windows * _FACTORS).sum(axis=1, dtype=np.uint64)


@lru_cache(maxsize=1 << 17)
def _hash_word(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


_FACTORS = np.array([pow(0x9E3779B97F4A7C15, k, 2**64) for k in range(1, GRAM_WORDS + 1)], dtype=np.uint64)
"""Odd, so that no word is lost in the sum."""
