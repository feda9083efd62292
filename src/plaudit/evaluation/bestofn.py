"""The quality of the best of n samples by reward, exactly: over all subsets of size n, not by resampling.

Guarantees: for each prompt the expectation is over all C(N, n) subsets of its N samples; among samples with
equal rewards each is picked equally often; the oracle and the random pick are measured on the same prompts.

Formula: a random subset of n misses the `a` samples of highest reward with chance C(N - a, n) / C(N, n). A
run of t equal rewards below them is therefore picked with chance [C(N - a, n) - C(N - a - t, n)] / C(N, n),
and contributes its mean quality.

Source of the KL: Stiennon et al., arXiv:2009.01325, appendix G.3. It is an upper bound (Beirami et al.,
arXiv:2401.01879), and what the field draws on the axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from plaudit.errors import PlauditError
from plaudit.evaluation.majority import expected_majority
from plaudit.objective.intervals import Estimate, mean_estimate

__all__ = [
    "BestOfNCurve",
    "BestOfNPoint",
    "PerPrompt",
    "best_of_n_kl",
    "expected_best_of_n",
    "expected_quality",
    "quality_by_n",
]

PerSample: TypeAlias = Sequence[int | float] | np.ndarray
"""One number for each sample of a prompt."""

PerPrompt: TypeAlias = Sequence[PerSample] | np.ndarray
"""The samples' numbers for each prompt; prompts may have different numbers of samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOfNPoint:
    """One n of the curve. The estimates are means over the same prompts."""

    n: int
    """Samples to choose from."""
    kl: float
    """log n - (n - 1) / n: how far choosing moves the policy at most, in nats."""
    picked: Estimate
    """Quality of the sample with the highest reward. Its n counts the prompts, those with enough samples."""
    oracle: Estimate
    """Quality of the best sample: what a perfect reward would pick."""
    random: Estimate
    """Quality of any sample."""
    majority: Estimate | None = None
    """Quality of the answer that most samples give; None where samples have no answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOfNCurve:
    """Quality of the pick against n."""

    points: tuple[BestOfNPoint, ...]
    """In the order of the n asked for."""
    num_prompts: int
    """Prompts given."""
    min_samples: int
    """Samples of the prompt that has fewest: up to this n every point rests on all prompts."""


def expected_best_of_n(
    rewards: PerPrompt,
    quality: PerPrompt,
    n_values: Sequence[int],
    *,
    answers: Sequence[Sequence[str | None]] | None = None,
) -> BestOfNCurve:
    """The curve over prompts with known quality of every sample.

    Args:
        rewards: For each prompt, the reward of each of its samples.
        quality: For each prompt, the quality of each sample, higher is better: 1 and 0 for right and wrong.
        n_values: The n to compute; a prompt enters where it has at least n samples.
        answers: For each prompt, the final answer of each sample, None where it gives none: for the majority vote.

    Raises:
        PlauditError: An n below 1 or above every prompt's samples, rewards, quality and answers of different
            lengths, a prompt without samples, or a number that is not finite.

    >>> curve = expected_best_of_n([[0.1, 0.9, 0.5]], [[0.0, 1.0, 0.0]], [1, 2, 3])
    >>> [round(point.picked.value, 4) for point in curve.points]
    [0.3333, 0.6667, 1.0]
    """
    prompts = _check(rewards, quality, n_values)
    majority = None if answers is None else _majority_by_n(prompts, answers, n_values)
    return BestOfNCurve(
        points=tuple(
            _point(prompts, n, None if majority is None else majority[:, index])
            for index, n in enumerate(n_values)
        ),
        num_prompts=len(prompts),
        min_samples=min((len(r) for r, _ in prompts), default=0),
    )


def quality_by_n(
    rewards: PerPrompt, quality: PerPrompt, n_values: Sequence[int]
) -> Float[np.ndarray, "prompt n"]:
    """The expected quality of each prompt's pick at each n; NaN where it has fewer samples.

    Args:
        rewards: As in `expected_best_of_n`.
        quality: As there.
        n_values: As there.

    Raises:
        PlauditError: As there.
    """
    prompts = _check(rewards, quality, n_values)
    values = [[expected_quality(r, q, n) if len(r) >= n else math.nan for n in n_values] for r, q in prompts]
    return np.array(values, dtype=np.float64).reshape(len(prompts), len(n_values))


def expected_quality(
    rewards: Float[np.ndarray, " sample"], quality: Float[np.ndarray, " sample"], n: int
) -> float:
    """Mean quality of the sample with the highest reward, over all subsets of n of one prompt's samples."""
    order = np.argsort(-rewards, kind="stable")
    is_new = np.diff(rewards[order], prepend=np.inf) != 0
    starts = np.flatnonzero(is_new)
    ends = np.append(starts[1:], len(rewards))
    chance_none_above = _chance_none_above(len(rewards), n)
    chance = chance_none_above[starts] - chance_none_above[ends]
    mean_quality = np.add.reduceat(quality[order], starts) / (ends - starts)
    return float(chance @ mean_quality)


def best_of_n_kl(n: int) -> float:
    """log n - (n - 1) / n, in nats.

    >>> best_of_n_kl(1)
    0.0
    """
    return math.log(n) - (n - 1) / n


@lru_cache(maxsize=1024)
def _chance_none_above(num_samples: int, n: int) -> np.ndarray:
    """float64 [num_samples + 1]: for each a, the chance that n of the samples miss the a best of them."""
    # Python divides integers of any size correctly rounded.
    whole = math.comb(num_samples, n)
    return np.array([math.comb(num_samples - a, n) / whole for a in range(num_samples + 1)])


_CheckedPrompts: TypeAlias = list[tuple[np.ndarray, np.ndarray]]
"""Rewards and quality of each prompt."""


def _point(prompts: _CheckedPrompts, n: int, majority: np.ndarray | None) -> BestOfNPoint:
    enough = [(r, q) for r, q in prompts if len(r) >= n]
    prompt = np.arange(len(enough))
    return BestOfNPoint(
        n=n,
        kl=best_of_n_kl(n),
        picked=mean_estimate(np.array([expected_quality(r, q, n) for r, q in enough]), prompt),
        oracle=mean_estimate(np.array([expected_quality(q, q, n) for _, q in enough]), prompt),
        random=mean_estimate(np.array([float(q.mean()) for _, q in enough]), prompt),
        majority=None if majority is None else mean_estimate(majority[~np.isnan(majority)], prompt),
    )


def _majority_by_n(
    prompts: _CheckedPrompts, answers: Sequence[Sequence[str | None]], n_values: Sequence[int]
) -> Float[np.ndarray, "prompt n"]:
    """The expected quality of each prompt's majority vote at each n; NaN where it has fewer samples."""
    if len(answers) != len(prompts):
        raise PlauditError(
            f"answers of {len(answers):,} prompts and quality of {len(prompts):,}",
            fix="Give one list for every prompt.",
        )
    values = np.full((len(prompts), len(n_values)), math.nan)
    for index, ((_, quality), given) in enumerate(zip(prompts, answers, strict=True)):
        if len(given) != len(quality):
            what = f"{len(given):,} answers and {len(quality):,} quality values"
            raise PlauditError(what, where=f"prompt {index}", fix="Give one for each sample.")
        known = [place for place, n in enumerate(n_values) if n <= len(quality)]
        if known:
            values[index, known] = expected_majority(given, quality, [n_values[place] for place in known])
    return values


def _check(rewards: PerPrompt, quality: PerPrompt, n_values: Sequence[int]) -> _CheckedPrompts:
    prompts = [_check_prompt(i, r, q) for i, (r, q) in enumerate(_zip_prompts(rewards, quality))]
    most = max((len(r) for r, _ in prompts), default=0)
    for n in n_values:
        if not 1 <= n <= most:
            raise PlauditError(
                f"best of {n} cannot be computed from at most {most} samples a prompt",
                where="n_values",
                fix=f"Choose n from 1 to {most}." if most else "Give at least one prompt with samples.",
            )
    return prompts


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
