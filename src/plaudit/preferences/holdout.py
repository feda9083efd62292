"""Parts of preference data: groups held out for evaluation by prompt, and the first so many.

Guarantees: no prompt is on both sides, however many records share it; which prompts are held out depends on
the seed and the prompt alone, so that it does not move when data are added; the order of the data stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from plaudit.errors import PlauditError
from plaudit.preferences.collection import Preferences

__all__ = ["first_groups", "hold_out"]

_ROWS_PER_BATCH = 1024


def hold_out(
    preferences: Preferences, *, fraction: float | None = None, num_groups: int | None = None, seed: int = 0
) -> tuple[Preferences, Preferences]:
    """Split by prompt into what to train on and what to evaluate on.

    Args:
        preferences: A table.
        fraction: Share of the groups to hold out, above 0 and below 1; or
        num_groups: how many groups to hold out. Prompts are taken whole until there are at least so many.
        seed: Chooses the prompts.

    Raises:
        PlauditError: The amount is not possible, or all groups share one prompt.

    >>> from plaudit.preferences import read_preferences
    >>> records = [{"prompt": f"{i // 2}?", "chosen": f"{i}", "rejected": "no"} for i in range(8)]
    >>> train, test = hold_out(read_preferences(records), num_groups=2)
    >>> len(train), len({group.prompt for group in test})
    (6, 1)
    """
    target = _target(len(preferences), fraction, num_groups)
    digests = _prompt_digests(preferences, seed)
    prompts, index, counts = np.unique(digests, return_inverse=True, return_counts=True)
    # Digests are uniform, so their order is a random one that belongs to the prompt and the seed.
    num_prompts = int(np.searchsorted(np.cumsum(counts), target)) + 1
    if num_prompts >= len(prompts):
        raise PlauditError(
            f"holding out {target:,} of {len(preferences):,} groups leaves no prompt to train on "
            f"({len(prompts):,} distinct prompts)",
            where="--eval-groups" if num_groups is not None else "--eval-fraction",
            fix="Hold out less, or give other data for evaluation: --eval-data.",
        )
    is_held_out = index.reshape(-1) < num_prompts
    note = f"groups held out for evaluation ({num_prompts:,} prompts)"
    train = _part(preferences, np.flatnonzero(~is_held_out), {note: int(is_held_out.sum())})
    return train, _part(preferences, np.flatnonzero(is_held_out), {})


def first_groups(preferences: Preferences, num_groups: int) -> Preferences:
    """The first groups, all of them where there are fewer.

    Raises:
        PlauditError: ``num_groups`` is below 1.
    """
    if num_groups < 1:
        raise PlauditError(f"{num_groups} groups", where="--limit", fix="Give a number above 0.")
    if num_groups >= len(preferences):
        return preferences
    note = f"groups left out by the limit, of {len(preferences):,}"
    return _part(preferences, np.arange(num_groups), {note: len(preferences) - num_groups})


def _target(num_all: int, fraction: float | None, num_groups: int | None) -> int:
    if fraction is not None and not 0.0 < fraction < 1.0:
        raise PlauditError(
            f"{fraction} is no share of the data",
            where="--eval-fraction",
            fix="Give a number above 0 and below 1, such as 0.05.",
        )
    target = max(round(num_all * fraction), 1) if fraction is not None else num_groups
    assert target is not None, "either fraction or num_groups"
    if not 0 < target < num_all:
        raise PlauditError(
            f"{target:,} groups cannot be held out of {num_all:,}",
            where="--eval-groups",
            fix=f"Give a number from 1 to {num_all - 1:,}." if num_all > 1 else "Give more data.",
        )
    return target


def _prompt_digests(preferences: Preferences, seed: int) -> np.ndarray:
    """uint64 [num_groups]: a hash of each group's prompt and the seed."""
    found = np.empty(len(preferences), dtype=np.uint64)
    key, start = seed.to_bytes(8, "little", signed=True), 0
    for batch in preferences.dataset.select_columns(["prompt"]).iter(batch_size=_ROWS_PER_BATCH):
        columns: Mapping[str, Any] = dict(batch)  # pyright: ignore[reportArgumentType]
        for prompt in columns["prompt"]:
            digest = hashlib.blake2b(prompt.encode(), digest_size=8, key=key).digest()
            found[start] = int.from_bytes(digest, "little")
            start += 1
    return found


def _part(preferences: Preferences, rows: np.ndarray, notes: Mapping[str, int]) -> Preferences:
    """Some rows, with a report that counts them and a fingerprint of their own."""
    dataset = preferences.dataset.select(rows)
    flat = dataset.select_columns(["is_tie"]).with_format("arrow")[:]["is_tie"]
    num_each = [len(row) for row in flat.to_pylist()]
    num_ties = sum(sum(row) for row in flat.to_pylist())
    report = replace(
        preferences.report,
        num_groups=len(rows),
        num_comparisons=sum(num_each),
        num_ties=num_ties,
        num_without_comparison=num_each.count(0),
        notes={**preferences.report.notes, **notes},
    )
    name = hashlib.sha256(preferences.fingerprint.encode() + rows.astype(np.int64).tobytes()).hexdigest()
    return Preferences(dataset, report=report, fingerprint=name)
