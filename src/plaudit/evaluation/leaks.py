"""Whether evaluation data stand in training data: equal texts, and words in a row that both have.

Guarantees: memory holds the evaluation data's hashes, some 17 bytes for each of their words, whatever the size of
the training data, which are read once as a stream; a text of which 13 words in a row stand in the training data is
found whatever stands around them. Two different runs of words have the same hash once in 2^64.

What a word is: `plaudit.evaluation.word_runs`. Thirteen words are the rule of GPT-3 (T. Brown et al.,
arXiv:2005.14165, appendix C). As there, what is everywhere is not held against a text: runs of words, and whole
completions, of more than `MAX_PROMPTS` different prompts of the evaluation data are a template's. A prompt in many
rows is one prompt, so that it cannot make itself a template.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int, UInt64

from plaudit.evaluation.leak_report import MAX_PROMPTS, MIN_COMPLETION_WORDS, LeakedRow, LeakReport
from plaudit.evaluation.plan import digest_of
from plaudit.evaluation.said import said
from plaudit.evaluation.word_runs import hashes_of_runs, words_of
from plaudit.preferences.group import PreferenceGroup

__all__ = ["LeakIndex", "find_leaks"]


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
        self._num_completions_left_out = 0
        prompt_of_row: list[int] = []
        hashes: list[np.ndarray] = []
        owners: list[np.ndarray] = []
        for row, group in enumerate(evaluation):
            self._rows.append(_Row(group.source, group.subset, group.id))
            prompt_words, completion_words = _words_of_group(group)
            prompt_of_row.append(self._add_whole_texts(row, prompt_words, completion_words))
            for part, grams in enumerate(_distinct_grams(prompt_words, completion_words)):
                hashes.append(grams)
                owners.append(np.full(len(grams), 2 * row + part, dtype=np.int64))
        prompt = np.array(prompt_of_row, dtype=np.int64)
        self._leave_out_template_completions(prompt)
        self._build(_joined(hashes, np.uint64), _joined(owners, np.int64), prompt)

    def look_up(self, group: PreferenceGroup) -> None:
        """Mark what one training record has of the evaluation data."""
        self.num_training_rows += 1
        prompt_words, completion_words = _words_of_group(group)
        # What was met once has nothing new to say the next time.
        for row in self._prompts.pop(_key_of(prompt_words), ()):
            self._rows[row].is_prompt_equal = True
            self._note(row, group.source)
        for words in completion_words:
            for row, completion in self._completions.pop(_key_of(words), ()):
                self._rows[row].completions_equal.add(completion)
                self._note(row, group.source)
        grams = [hashes_of_runs(words) for words in (prompt_words, *completion_words)]
        self._look_up_grams(np.concatenate(grams), group.source)

    def report(self) -> LeakReport:
        """What was found so far."""
        is_counted = ~self._is_template
        has_grams = np.bincount(self._owner // 2, minlength=len(self._rows)) > 0
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
            num_too_short=int(np.count_nonzero(~has_grams)),
            num_template_only=int(np.count_nonzero(has_grams & (totals.sum(axis=1) == 0))),
            num_template_grams=self._num_template_grams,
            num_completions_left_out=self._num_completions_left_out,
            rows=tuple(rows),
        )

    def _add_whole_texts(self, row: int, prompt: list[str], completions: list[list[str]]) -> int:
        """Note the whole texts of a row; the first row with its prompt. A prompt without words is like no other."""
        for completion, words in enumerate(completions):
            if len(words) >= MIN_COMPLETION_WORDS:
                self._completions.setdefault(_key_of(words), []).append((row, completion))
            else:
                self._num_completions_left_out += 1
        if not prompt:
            return row
        rows = self._prompts.setdefault(_key_of(prompt), [])
        rows.append(row)
        return rows[0]

    def _leave_out_template_completions(self, prompt_of_row: Int[np.ndarray, " row"]) -> None:
        for digest, places in list(self._completions.items()):
            if len({int(prompt_of_row[row]) for row, _ in places}) > MAX_PROMPTS:
                self._num_completions_left_out += len(self._completions.pop(digest))

    def _build(
        self,
        hashes: UInt64[np.ndarray, " gram"],
        owner: Int[np.ndarray, " gram"],
        prompt_of_row: Int[np.ndarray, " row"],
    ) -> None:
        order = np.lexsort((prompt_of_row[owner // 2], hashes))
        self._hashes, self._owner = hashes[order], owner[order]
        self._is_met = np.zeros(len(order), dtype=np.bool_)
        starts = np.flatnonzero(np.diff(self._hashes, prepend=~self._hashes[:1]) != 0)
        run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        # Of one run of words the rows of a prompt are neighbours here; a prompt counts once.
        is_new_prompt = np.ones(len(order), dtype=np.bool_)
        is_new_prompt[1:] = (np.diff(run) != 0) | (np.diff(prompt_of_row[self._owner // 2]) != 0)
        num_prompts = np.bincount(run, weights=is_new_prompt, minlength=len(starts))
        self._num_template_grams = int(np.count_nonzero(num_prompts > MAX_PROMPTS))
        self._is_template = (num_prompts > MAX_PROMPTS)[run]

    def _look_up_grams(self, grams: UInt64[np.ndarray, " gram"], source: str) -> None:
        if not len(grams) or not len(self._hashes):
            return
        grams = np.unique(grams)
        first = np.searchsorted(self._hashes, grams, side="left")
        last = np.searchsorted(self._hashes, grams, side="right")
        for start, end in zip(first[last > first].tolist(), last[last > first].tolist(), strict=True):
            if self._is_template[start] or self._is_met[start]:
                continue
            self._is_met[start:end] = True
            for owner in self._owner[start:end].tolist():
                self._note(owner // 2, source)

    def _note(self, row: int, source: str) -> None:
        self._rows[row].found_in = self._rows[row].found_in or source or f"record {self.num_training_rows}"


def _words_of_group(group: PreferenceGroup) -> tuple[list[str], list[list[str]]]:
    return words_of(said(group.prompt)), [words_of(said(completion)) for completion in group.completions]


def _key_of(words: Sequence[str]) -> bytes:
    return digest_of(" ".join(words).encode("utf-8", "surrogatepass"))


def _distinct_grams(
    prompt: Sequence[str], completions: Sequence[Sequence[str]]
) -> Iterator[UInt64[np.ndarray, " _gram"]]:
    """The distinct runs of words of the prompt, then those of all completions."""
    yield np.unique(hashes_of_runs(prompt))
    yield np.unique(_joined([hashes_of_runs(words) for words in completions], np.uint64))


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)
