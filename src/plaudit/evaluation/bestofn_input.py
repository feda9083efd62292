"""What best of n takes, checked: rewards and quality of the samples, the n, and which prompts are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Int

from plaudit.errors import PlauditError

__all__ = ["CheckedPrompts", "PerPrompt", "PerSample", "check_n_values", "check_prompts", "clusters_or_own"]

PerSample: TypeAlias = Sequence[int | float] | np.ndarray
"""One number for each sample of a prompt."""

PerPrompt: TypeAlias = Sequence[PerSample] | np.ndarray
"""The samples' numbers for each prompt; prompts may have different numbers of samples."""

CheckedPrompts: TypeAlias = list[tuple[np.ndarray, np.ndarray]]
"""Rewards and quality of each prompt."""


def check_prompts(rewards: PerPrompt, quality: PerPrompt, n_values: Sequence[int]) -> CheckedPrompts:
    """Rewards and quality of each prompt as float64, and that every n can be computed.

    Raises:
        PlauditError: An n below 1 or above every prompt's samples, rewards and quality of different lengths, a prompt
            without samples, or a number that is not finite.
    """
    prompts = [_check_prompt(i, r, q) for i, (r, q) in enumerate(_zip_prompts(rewards, quality))]
    check_n_values(n_values, [len(r) for r, _ in prompts])
    return prompts


def check_n_values(n_values: Sequence[int], num_samples: Sequence[int], *, where: str = "n_values") -> None:
    """Refuse an n that no prompt reaches.

    Args:
        n_values: The n.
        num_samples: How many samples each prompt has.
        where: What the n are called where the person gave them.

    Raises:
        PlauditError: An n is below 1 or above every prompt's samples.
    """
    most = max(num_samples, default=0)
    for n in n_values:
        if not 1 <= n <= most:
            raise PlauditError(
                f"best of {n} cannot be computed from at most {most} samples a prompt",
                where=where,
                fix=f"Choose n from 1 to {most}." if most else "Give at least one prompt with samples.",
            )


def clusters_or_own(clusters: np.ndarray | None, num_prompts: int) -> Int[np.ndarray, " prompt"]:
    """The clusters, or each prompt as its own.

    Raises:
        PlauditError: They are not as many as the prompts.
    """
    if clusters is None:
        return np.arange(num_prompts)
    if len(clusters) != num_prompts:
        what = f"{len(clusters):,} clusters of {num_prompts:,} prompts"
        raise PlauditError(what, fix="Give one number for every prompt.")
    return clusters


def _zip_prompts(rewards: PerPrompt, quality: PerPrompt) -> list[tuple[PerSample, PerSample]]:
    if len(rewards) != len(quality):
        raise PlauditError(
            f"rewards of {len(rewards):,} prompts and quality of {len(quality):,}",
            fix="Give one list of each for every prompt.",
        )
    return list(zip(rewards, quality, strict=True))


def _check_prompt(index: int, rewards: PerSample, quality: PerSample) -> tuple[np.ndarray, np.ndarray]:
    r, q = np.asarray(rewards, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if len(r) == 0 or len(r) != len(q):
        what = f"{len(r):,} rewards and {len(q):,} quality values"
        raise PlauditError(what, where=f"prompt {index}", fix="Give both for each sample, at least one.")
    for name, values in (("reward", r), ("quality", q)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise PlauditError(
                f"the {name} of sample {bad[0]} is {values[bad[0]]}",
                where=f"prompt {index}",
                fix="Leave the sample out, or measure it again.",
            )
    return r, q
