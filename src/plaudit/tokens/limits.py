"""Length limits in tokens, by one rule for training, evaluation and scoring; everything lost is counted.

A prompt is cut from the left and a completion never: the end of an answer is where its reward is read. All
completions of a group lose the same tokens, so that they go on sharing their prompt. Two completions that are
the same ids always have the same reward; they are merged, and a comparison between them teaches nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from plaudit.errors import PlauditError, unknown_choice
from plaudit.tokens.group import TokenGroup
from plaudit.tokens.keeping import KeepRows, is_kept

__all__ = ["DROP_REASONS", "LengthLimits", "LimitedGroup", "limit_group"]

POLICIES = ("drop", "truncate-prompt", "error")

DROP_REASONS = ("too-long", "prompt-too-long", "identical", "no-comparison")
"""Why a group is dropped: a completion over the limit, the prompt over its limit, completions that are the
same ids, nothing to compare from the start (nor ratings or attributes that are wanted)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthLimits:
    """How long sequences and prompts may be, in tokens, and what happens to longer ones."""

    max_length: int | None = None
    """Longest sequence in tokens, prompt and completion together; None for no limit."""
    max_prompt_length: int | None = None
    """Longest prompt in tokens; None for no limit."""
    on_overlength: str = "drop"
    """`drop` the completion, `truncate-prompt` (cut the prompt from the left; a completion that alone exceeds
    the limit is dropped), or `error`."""

    def __post_init__(self) -> None:
        if self.on_overlength not in POLICIES:
            raise unknown_choice("--on-overlength", self.on_overlength, POLICIES)
        for name in ("max_length", "max_prompt_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = "--" + name.replace("_", "-")
                raise PlauditError(
                    f"{name} is {value} tokens",
                    where=option,
                    fix="Give a number above 0, or none for no limit.",
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitedGroup:
    """What the limits left of a group, and what they took."""

    group: TokenGroup | None
    """The group that is left; None when it was dropped."""
    drop_reason: str | None
    """One of `DROP_REASONS` when it was dropped."""
    num_completions_in: int
    """K before."""
    num_completions_too_long: int
    """Completions dropped for their length or their prompt's."""
    num_completions_identical: int
    """Completions merged into an earlier one of the same ids."""
    num_comparisons_in: int
    """Comparisons before."""
    num_comparisons_too_long: int
    """Comparisons lost with a completion."""
    num_comparisons_identical: int
    """Comparisons between completions of the same ids."""
    num_longest_tokens: int
    """Length of the longest sequence before any cut."""
    num_prompt_tokens_in: int
    """Length of the prompt before any cut."""


def limit_group(
    group: TokenGroup,
    limits: LengthLimits,
    *,
    leading_ids: Collection[int] = (),
    keep_without_comparisons: KeepRows = False,
    source: str = "",
) -> LimitedGroup:
    """A token group within the limits, with identical completions merged.

    Args:
        group: The group with nothing cut.
        limits: The limits.
        leading_ids: Ids that stay in front when the prompt is cut (the beginning-of-sequence token).
        keep_without_comparisons: Whether a group is kept if nothing in it is compared; see `keeping.KeepRows`.
        source: Where the group was read, for errors.

    Raises:
        PlauditError: With `on_overlength="error"`, a sequence or prompt over its limit.
    """
    if limits.on_overlength == "error":
        _refuse_overlength(group, limits, source)
    num_leading = int(group.num_prompt_tokens > 0 and int(group.sequences[0][0]) in leading_ids)
    first_of = _first_of_same_ids(group.sequences)
    fits = _fits(group, limits, num_leading)
    is_first = first_of == np.arange(len(first_of))
    kept = np.flatnonzero(is_first & fits)
    identical = first_of[group.better] == first_of[group.worse]
    too_long = ~identical & ~(fits[group.better] & fits[group.worse])
    compared = ~identical & ~too_long
    is_left = len(kept) > 0 and (bool(compared.any()) or is_kept(group, fits, keep_without_comparisons))
    limited = _cut(_select(group, kept, first_of, compared), limits, num_leading) if is_left else None
    return LimitedGroup(
        group=limited,
        drop_reason=None if is_left else _drop_reason(group, limits, fits, too_long),
        num_completions_in=len(group.sequences),
        num_completions_too_long=int((is_first & ~fits).sum()),
        num_completions_identical=int((~is_first).sum()),
        num_comparisons_in=len(group.better),
        num_comparisons_too_long=int(too_long.sum()),
        num_comparisons_identical=int(identical.sum()),
        num_longest_tokens=max(map(len, group.sequences), default=0),
        num_prompt_tokens_in=group.num_prompt_tokens,
    )


def _first_of_same_ids(sequences: tuple[np.ndarray, ...]) -> np.ndarray:
    """int64 [K]: for each sequence, the index of the first one with the same ids."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(ids.tobytes(), i) for i, ids in enumerate(sequences)], dtype=np.int64)


def _fits(group: TokenGroup, limits: LengthLimits, num_leading: int) -> np.ndarray:
    """bool [K]: whether each sequence can be brought within the limits by the policy."""
    lengths = np.array([len(ids) for ids in group.sequences], dtype=np.int64)
    if limits.on_overlength == "truncate-prompt":
        shortest = lengths - group.num_prompt_tokens + num_leading
        return shortest <= _or_unlimited(limits.max_length)
    prompt_fits = group.num_prompt_tokens <= _or_unlimited(limits.max_prompt_length)
    return (lengths <= _or_unlimited(limits.max_length)) & prompt_fits


def _select(group: TokenGroup, kept: np.ndarray, first_of: np.ndarray, compared: np.ndarray) -> TokenGroup:
    """The group with only the completions `kept` and the comparisons marked `compared`, renumbered."""
    if len(kept) == len(first_of) and compared.all():
        return group
    new_index = np.full(len(first_of), -1, dtype=np.int32)
    new_index[kept] = np.arange(len(kept), dtype=np.int32)
    return replace(
        group,
        sequences=tuple(group.sequences[i] for i in kept),
        better=new_index[first_of[group.better[compared]]],
        worse=new_index[first_of[group.worse[compared]]],
        margin=group.margin[compared],
        weight=group.weight[compared],
        is_tie=group.is_tie[compared],
        ratings=None if group.ratings is None else _merged(group.ratings, kept, first_of),
        attributes=None if group.attributes is None else _merged(group.attributes, kept, first_of),
        completion_index=_chosen(group.completion_index, kept.astype(np.int32)),
        comparison_index=_chosen(group.comparison_index, np.flatnonzero(compared).astype(np.int32)),
    )


def _chosen(index: np.ndarray | None, chosen: np.ndarray) -> np.ndarray:
    """Places in the preference group of what was chosen from a group that may itself be a choice."""
    return chosen if index is None else index[chosen]


def _merged(ratings: np.ndarray, kept: np.ndarray, first_of: np.ndarray) -> np.ndarray:
    """float32 [len(kept), ...]: the means of the known ratings of the completions merged into each, else NaN."""
    merged = np.full((len(kept), *ratings.shape[1:]), np.nan, dtype=np.float32)
    for position, index in enumerate(kept):
        of_same = ratings[first_of == index]
        known = ~np.isnan(of_same)
        count = known.sum(axis=0)
        mean = of_same.sum(axis=0, where=known) / np.maximum(count, 1)
        merged[position] = np.where(count > 0, mean, np.nan)
    return merged


def _cut(group: TokenGroup, limits: LengthLimits, num_leading: int) -> TokenGroup:
    """The group with as many prompt tokens cut from the left of every sequence as its longest one needs."""
    if limits.on_overlength != "truncate-prompt":
        return group
    longest = max(map(len, group.sequences))
    num_cut = int(
        max(
            0,
            longest - _or_unlimited(limits.max_length),
            group.num_prompt_tokens - _or_unlimited(limits.max_prompt_length),
        )
    )
    if num_cut == 0:
        return group
    return replace(
        group,
        sequences=tuple(
            np.concatenate([ids[:num_leading], ids[num_leading + num_cut :]]) for ids in group.sequences
        ),
        num_prompt_tokens=group.num_prompt_tokens - num_cut,
        num_truncated_tokens=num_cut,
    )


def _drop_reason(group: TokenGroup, limits: LengthLimits, fits: np.ndarray, too_long: np.ndarray) -> str:
    if bool(too_long.any()) or (len(fits) and not bool(fits.any())):
        over_prompt = group.num_prompt_tokens > _or_unlimited(limits.max_prompt_length)
        return "prompt-too-long" if over_prompt and limits.on_overlength == "drop" else "too-long"
    return "identical" if len(group.better) else "no-comparison"


def _refuse_overlength(group: TokenGroup, limits: LengthLimits, source: str) -> None:
    longest = max(map(len, group.sequences), default=0)
    fix = "Raise the limit, or choose --on-overlength truncate-prompt or drop."
    if longest > _or_unlimited(limits.max_length):
        raise PlauditError(
            f"a sequence of {longest:,} tokens ({group.num_prompt_tokens:,} of them prompt) exceeds "
            f"max_length {limits.max_length:,}",
            where=source or None,
            fix=fix,
        )
    if group.num_prompt_tokens > _or_unlimited(limits.max_prompt_length):
        raise PlauditError(
            f"a prompt of {group.num_prompt_tokens:,} tokens exceeds max_prompt_length "
            f"{limits.max_prompt_length:,}",
            where=source or None,
            fix=fix,
        )


def _or_unlimited(limit: int | None) -> int:
    return sys.maxsize if limit is None else limit
