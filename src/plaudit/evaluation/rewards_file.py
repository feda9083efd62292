"""Rewards made elsewhere, from a file: so that any system can be measured, whatever computed them.

A row says of which conversation its reward is, in one of three ways:

    prompt, completion, reward          texts or messages; or completions with rewards (what ``plaudit score`` writes)
    id, completion, reward              the record's id and the completion's place in it, from 0; or id with rewards.
                                        An id that two different conversations of a run have is an error
    key, reward                         the hash of `conversation_key`, in hex

JSON lines (also .gz and .zst), Parquet and CSV are read. Rows for conversations that are not asked for are left out and
counted; a conversation without a row is an error, and so are two rows that disagree.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from plaudit.errors import PlauditError
from plaudit.evaluation.conversations import Conversation, conversation_key, plan_conversations
from plaudit.evaluation.reward_source import PlannedSet, ScoredChunk
from plaudit.evaluation.reward_store import Cost
from plaudit.preferences import Preferences
from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.sources.item import BLANK, Position
from plaudit.preferences.sources.lines import read_json_lines
from plaudit.tokens import LengthLimits, Renderer

__all__ = ["FileSource", "is_rewards_file"]

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".parquet", ".csv")

Name: TypeAlias = bytes | tuple[str, int]
"""Of a conversation: its key, or its record's id with its place."""

FORMS = (
    "Give prompt, completion and reward; or id, completion (its place, from 0) and reward; or key and reward."
)

log = logging.getLogger(__name__)


def is_rewards_file(name: str) -> bool:
    """Whether the name of a model is that of a file of rewards.

    >>> is_rewards_file("rewards.jsonl"), is_rewards_file("org/model")
    (True, False)
    """
    return name.endswith(ENDINGS)


class FileSource:
    """A file of rewards."""

    is_stored = False
    """To read the file again costs less than to store what it says."""

    def __init__(self, path: str | Path, *, renderer: Renderer | None = None) -> None:
        """
        Args:
            path: The file.
            renderer: Counts the tokens of conversations, where that is wanted.

        Raises:
            PlauditError: No such file; a row without a reward, of none of the three forms, or against another row.
        """
        self.path = Path(path)
        self.name = self.path.name
        self.renderer = renderer
        if not self.path.is_file():
            raise PlauditError("there is no such file", where=str(path), fix="Check the path.")
        self.rewards: dict[Name, float] = {}
        for where, row in _rows(self.path):
            for name, reward in _read_row(row, where):
                if self.rewards.setdefault(name, reward) != reward:
                    raise PlauditError(
                        f"the reward {reward} is another than that of an earlier row, {self.rewards[name]}",
                        where=where,
                        fix="Keep one row for each completion; where ids repeat, name conversations by their text.",
                    )
        if not self.rewards:
            raise PlauditError("there is no reward in it", where=str(path), fix=FORMS)
        self.is_by_id = any(isinstance(name, tuple) for name in self.rewards)

    def fingerprint(self) -> str | None:
        """Of the file's content."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def plan(self, preferences: Preferences, limits: LengthLimits, *, progress: bool) -> PlannedSet:
        """Every conversation; see `plan_conversations`."""
        planned = plan_conversations(
            preferences, limits, self.renderer, by_id=self.is_by_id, progress=progress
        )
        planned.settings.update(rewards_file=str(self.path))
        return planned

    def chunks(self, items: Sequence[Conversation]) -> list[np.ndarray]:
        """All at once."""
        return [np.arange(len(items))] if len(items) else []

    def score(self, items: Sequence[Conversation], chunks: Sequence[np.ndarray]) -> Iterator[ScoredChunk]:
        """Look them up.

        Raises:
            PlauditError: Conversations without a reward: how many, and the first; or an id of the file that two
                conversations have, so that the reward is of one of them at most.
        """
        self._check_ids(items)
        for indices in chunks:
            rewards = np.array([self._reward_of(items[i]) for i in indices], dtype=np.float64)
            missing = np.flatnonzero(np.isnan(rewards))
            if len(missing):
                first = items[int(indices[missing[0]])]
                raise PlauditError(
                    f"{self.path} has no reward for {len(missing):,} of {len(indices):,} conversations, the first of "
                    f"them completion {first.index} of the record {first.id!r}",
                    where=first.source,
                    fix="Score them too, or evaluate on the data that the file is of.",
                )
            num_unused = len(self.rewards) - len(indices)
            if num_unused > 0:
                log.info("%s: %s rewards are of other conversations", self.path, f"{num_unused:,}")
            yield ScoredChunk(
                indices=indices, rewards=rewards.astype(np.float32), cost=Cost(num_sequences=len(indices))
            )

    def _check_ids(self, items: Sequence[Conversation]) -> None:
        key_of: dict[Name, bytes] = {}
        source_of: dict[Name, str] = {}
        for c in items if self.is_by_id else ():
            if c.id is None or (name := (c.id, c.index)) not in self.rewards:
                continue
            key = _key_of(c)
            if key_of.setdefault(name, key) != key:
                raise PlauditError(
                    f"completion {c.index} of the record {c.id!r} is another text here than in {source_of[name]}, and "
                    f"{self.path} has one reward for both",
                    where=c.source,
                    fix="Evaluate each suite with the file that was made for it, or name conversations by their text.",
                )
            source_of.setdefault(name, c.source)

    def _reward_of(self, c: Conversation) -> float:
        if self.is_by_id and c.id is not None and (c.id, c.index) in self.rewards:
            return self.rewards[(c.id, c.index)]
        return self.rewards.get(_key_of(c), math.nan)


def _key_of(c: Conversation) -> bytes:
    return conversation_key(c.prompt, c.completion, c.tools, c.chat_template_kwargs)


def _read_row(row: Mapping[str, Any], where: str) -> Iterator[tuple[Name, float]]:
    rewards: Any = row.get("rewards") if row.get("rewards") is not None else [row.get("reward")]
    if not isinstance(rewards, list) or not all(_is_finite(value) for value in rewards):
        raise PlauditError(f"the reward is {rewards!r}, not finite numbers", where=where, fix=FORMS)
    numbers = [float(value) for value in rewards]
    if row.get("key") is not None:
        names: list[Name] = [_key(row["key"], where)]
    elif row.get("prompt") is not None:
        names = [_key_of_texts(row, completion) for completion in _completions(row)]
    elif row.get("id") is not None and row.get("rewards") is not None:
        names = [(str(row["id"]), index) for index in range(len(numbers))]
    elif row.get("id") is not None:
        names = [(str(row["id"]), _place(row, where))]
    else:
        raise PlauditError(
            f"of which conversation it is, is not said ({', '.join(row)})", where=where, fix=FORMS
        )
    if len(names) != len(numbers):
        raise PlauditError(
            f"{len(numbers)} rewards for {len(names)} completions", where=where, fix="Give one for each."
        )
    yield from zip(names, numbers, strict=True)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _key(value: Any, where: str) -> bytes:
    try:
        key = bytes.fromhex(value)
    except (TypeError, ValueError):
        key = b""
    if len(key) != 16:
        raise PlauditError(f"the key is {value!r}, not 32 hex digits", where=where, fix=FORMS)
    return key


def _key_of_texts(row: Mapping[str, Any], completion: Any) -> bytes:
    prompt = row["prompt"]
    if not isinstance(prompt, str) and isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]  # as plaudit score reads it
    return conversation_key(prompt, completion, row.get("tools"), row.get("chat_template_kwargs"))


def _completions(row: Mapping[str, Any]) -> list[Any]:
    return list(row["completions"]) if row.get("completions") is not None else [row.get("completion")]


def _place(row: Mapping[str, Any], where: str) -> int:
    for name in ("completion", "completion_index", "index"):
        value = row.get(name)
        if isinstance(value, str) and value.isdecimal():  # CSV
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    raise PlauditError("which of the record's completions it is, is not said", where=where, fix=FORMS)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows with their places."""
    if path.suffix in (".parquet", ".csv"):
        is_csv = path.suffix == ".csv"
        table = _read_csv(path) if is_csv else pyarrow.parquet.read_table(path)
        for number, row in enumerate(table.to_pylist()):
            yield f"{path}:{number + 2 if is_csv else number}", {k: _from_text(k, v) for k, v in row.items()}
        return
    for number, value in read_json_lines(path, Position()):
        if value is BLANK:
            continue
        if isinstance(value, BadRecord) or not isinstance(value, dict):
            what = value.what if isinstance(value, BadRecord) else f"a JSON {type(value).__name__}"
            raise PlauditError(f"no row of rewards: {what}", where=f"{path}:{number}", fix=FORMS)
        yield f"{path}:{number}", value


def _read_csv(path: Path) -> pyarrow.Table:
    """Texts stay texts, also those that look like numbers, and may span lines."""
    texts = ("prompt", "completion", "completions", "rewards", "id", "key")
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pyarrow.string())),
    )


def _from_text(name: str, value: Any) -> Any:
    """A cell with JSON in it, where a table's column holds texts only: lists, and conversations as messages."""
    if name not in ("prompt", "completion", "completions", "rewards") or not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    if name in ("completions", "rewards"):
        return found
    are_messages = (
        isinstance(found, list) and found and all(isinstance(t, dict) and "role" in t for t in found)
    )
    return found if are_messages else value
