"""One pass over all distinct sequences of an evaluation: what is known is taken from the store, the rest is scored.

Guarantees: nothing is scored twice, in this run or (with a store) in a later one; a run that is killed loses what was
in flight and no more; on several processes each chunk is scored by one of them, and all of them end with all rewards; a
reward that is no finite number stops the run and names its record.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import distributed

from plaudit.errors import PlauditError
from plaudit.evaluation.folder import REWARDS_FOLDER
from plaudit.evaluation.reward_source import RewardSource, ScoredChunk
from plaudit.evaluation.reward_store import Cost, RewardStore, StoredRewards
from plaudit.processes import first_decides, num_processes
from plaudit.scoring.progress import sequence_progress

__all__ = ["open_store", "score_distinct"]

SECONDS_BETWEEN_LINES = 30.0
"""Between two lines of the log where there is no terminal for a bar (assumed)."""

FIX_OF_MODELS = "Score in float32 (--dtype float32), and check the weights for NaN."
"""Where a source does not say by ``fix_of_not_finite`` what helps against a reward that is no finite number."""

log = logging.getLogger(__name__)


@contextmanager
def open_store(
    source: RewardSource, fingerprint: str | None, folder: Path | None, *, forget: bool = False
) -> Iterator[RewardStore | None]:
    """The store of a source's rewards; None without a folder or a fingerprint, or where storing costs more than asking.

    Args:
        source: Where rewards come from.
        fingerprint: What they belong to.
        folder: The output folder; the store is in `REWARDS_FOLDER` below it.
        forget: Score again what was scored before.
    """
    if folder is None or fingerprint is None or not getattr(source, "is_stored", True):
        yield None
        return
    with RewardStore(folder / REWARDS_FOLDER, fingerprint, forget=forget) as store:
        yield store


def score_distinct(
    source: RewardSource,
    items: Sequence[Any],
    keys: Sequence[bytes],
    *,
    store: RewardStore | None,
    place_of: Callable[[int], str],
    description: str = "scoring",
    progress: bool = True,
) -> tuple[Float[np.ndarray, " item"], Cost, int]:
    """Rewards of distinct items, float64; what they took, whenever that was; and how many the store knew.

    Args:
        source: Where rewards come from.
        items: What to score, each different from the others.
        keys: Their keys.
        store: Where rewards are kept; None keeps none.
        place_of: The place in the data of an item, for errors.
        description: What the progress bar says.
        progress: Whether there is one.

    Raises:
        PlauditError: A reward that is not finite, or what the source raises.
    """
    known = first_decides(lambda: _known(store, keys))
    rewards, cost = known.rewards.copy(), known.cost
    missing = np.flatnonzero(np.isnan(rewards))
    num_known = len(items) - len(missing)
    if num_known:
        log.info("%s of %s sequences were scored before", f"{num_known:,}", f"{len(items):,}")
    wanted = [items[i] for i in missing.tolist()]
    chunks = source.chunks(wanted)
    rank, world = (distributed.get_rank(), num_processes()) if num_processes() > 1 else (0, 1)
    mine = chunks[rank::world]
    scored: list[tuple[np.ndarray, np.ndarray, Cost]] = []
    with _progress(sum(map(len, mine)), world, description, enabled=progress and rank == 0) as advance:
        for chunk in source.score(wanted, mine):
            indices = missing[chunk.indices]
            _check_finite(indices, chunk, place_of, getattr(source, "fix_of_not_finite", FIX_OF_MODELS))
            share = _share_of(chunk.cost, world)
            if store is not None:
                store.append([keys[i] for i in indices.tolist()], chunk.rewards, share)
            scored.append((indices, chunk.rewards, share))
            advance(len(indices))
    for indices, found, share in gather_object(scored) if world > 1 else scored:
        rewards[indices] = found
        cost += share
    assert not np.isnan(rewards).any(), "the source has scored every item of its chunks"
    if cost.num_truncated and rank == 0:
        log.warning(
            "%s: the server has cut %s of %s conversations to its length limit; their rewards are of what was left",
            source.name,
            f"{cost.num_truncated:,}",
            f"{len(items):,}",
        )
    return rewards, cost, num_known


def _known(store: RewardStore | None, keys: Sequence[bytes]) -> StoredRewards:
    if store is None:
        return StoredRewards(rewards=np.full(len(keys), np.nan), cost=Cost())
    return store.rewards_of(keys)


def _share_of(cost: Cost, world: int) -> Cost:
    """Processes work side by side: the seconds of all chunks together are then those on the clock."""
    return replace(cost, seconds=cost.seconds / world)


def _check_finite(indices: np.ndarray, chunk: ScoredChunk, place_of: Callable[[int], str], fix: str) -> None:
    is_bad = ~np.isfinite(chunk.rewards)
    if not is_bad.any():
        return
    first = int(np.flatnonzero(is_bad)[np.argmin(indices[is_bad])])
    raise PlauditError(
        f"the reward of a sequence is {chunk.rewards[first]} ({np.count_nonzero(is_bad):,} of "
        f"{len(chunk.rewards):,} sequences scored with it have no finite reward)",
        where=place_of(int(indices[first])),
        fix=fix,
    )


@contextmanager
def _progress(total: int, world: int, description: str, *, enabled: bool) -> Iterator[Callable[[int], None]]:
    """A bar where there is a terminal, and a line of the log from time to time; of this process's part."""
    start = last = time.monotonic()
    num_done = 0
    part = f" on each of {world} processes" if world > 1 else ""
    with sequence_progress(total, description, enabled=enabled) as bar:

        def advance(num: int) -> None:
            nonlocal num_done, last
            num_done += num
            bar(num)
            now = time.monotonic()
            if enabled and now - last >= SECONDS_BETWEEN_LINES:
                last = now
                rate = num_done / (now - start)
                log.info("%s: %s of %s, %.1f sequences/s%s", description, num_done, total, rate, part)

        yield advance
