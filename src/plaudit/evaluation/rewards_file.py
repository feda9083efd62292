"""Rewards made elsewhere as a source of rewards, so that any system can be measured, whatever computed them.

Rewards for conversations that are not asked for are left out and counted; a conversation without one is an error. The
forms of the file are in `plaudit.evaluation.reward_rows`.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from plaudit.errors import PlauditError
from plaudit.evaluation.conversations import Conversation, item_key, plan_conversations
from plaudit.evaluation.reward_rows import Name, read_rewards
from plaudit.evaluation.reward_source import PlannedSet, ScoredChunk
from plaudit.evaluation.reward_store import Cost
from plaudit.preferences import Preferences
from plaudit.tokens import LengthLimits, Renderer

__all__ = ["FileSource", "is_rewards_file"]

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".parquet", ".csv")

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
        self.rewards = read_rewards(self.path)
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
            yield ScoredChunk(indices=indices, rewards=rewards, cost=Cost(num_sequences=len(indices)))

    def _check_ids(self, items: Sequence[Conversation]) -> None:
        key_of: dict[Name, bytes] = {}
        source_of: dict[Name, str] = {}
        for c in items if self.is_by_id else ():
            if c.id is None or (name := (c.id, c.index)) not in self.rewards:
                continue
            key = item_key(c)
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
        return self.rewards.get(item_key(c), math.nan)
