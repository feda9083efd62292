"""The quality of the best of n samples by reward, exactly: over all subsets of size n, not by resampling.

Guarantees: for each prompt the expectation is over all C(N, n) subsets of its N samples; among samples with
equal rewards each is picked equally often; the oracle and the random pick are measured on the same prompts; a prompt
that stands in the data several times is drawn as one where intervals are resampled.

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

import numpy as np
from jaxtyping import Float, Int

from plaudit.errors import PlauditError
from plaudit.evaluation.bestofn_input import CheckedPrompts, PerPrompt, check_prompts, clusters_or_own
from plaudit.evaluation.majority import expected_majority
from plaudit.objective.intervals import Estimate, mean_estimate

__all__ = [
    "BestOfNCurve",
    "BestOfNPoint",
    "best_of_n_kl",
    "expected_best_of_n",
    "expected_quality",
    "quality_by_n",
]


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
    """Prompts given, one that was given twice counted twice."""
    num_distinct_prompts: int
    """Different prompts among them: what the intervals rest on."""
    min_samples: int
    """Samples of the prompt that has fewest: up to this n every point rests on all prompts."""


def expected_best_of_n(
    rewards: PerPrompt,
    quality: PerPrompt,
    n_values: Sequence[int],
    *,
    answers: Sequence[Sequence[str | None]] | None = None,
    clusters: Int[np.ndarray, " prompt"] | None = None,
) -> BestOfNCurve:
    """The curve over prompts with known quality of every sample.

    Args:
        rewards: For each prompt, the reward of each of its samples.
        quality: For each prompt, the quality of each sample, higher is better: 1 and 0 for right and wrong.
        n_values: The n to compute; a prompt enters where it has at least n samples.
        answers: For each prompt, the final answer of each sample, None where it gives none: for the majority vote.
        clusters: A number for each prompt, the same where it is the same prompt given again: those are resampled
            together. None where all are different.

    Raises:
        PlauditError: An n below 1 or above every prompt's samples, rewards, quality, answers and clusters of different
            lengths, a prompt without samples, or a number that is not finite.

    >>> curve = expected_best_of_n([[0.1, 0.9, 0.5]], [[0.0, 1.0, 0.0]], [1, 2, 3])
    >>> [round(point.picked.value, 4) for point in curve.points]
    [0.3333, 0.6667, 1.0]
    """
    prompts = check_prompts(rewards, quality, n_values)
    majority = None if answers is None else _majority_by_n(prompts, answers, n_values)
    clusters = clusters_or_own(clusters, len(prompts))
    return BestOfNCurve(
        points=tuple(
            _point(prompts, clusters, n, None if majority is None else majority[:, index])
            for index, n in enumerate(n_values)
        ),
        num_prompts=len(prompts),
        num_distinct_prompts=len(np.unique(clusters)),
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
    prompts = check_prompts(rewards, quality, n_values)
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


def _point(
    prompts: CheckedPrompts, clusters: Int[np.ndarray, " prompt"], n: int, majority: np.ndarray | None
) -> BestOfNPoint:
    has_enough = np.array([len(r) >= n for r, _ in prompts])
    enough = [prompts[index] for index in np.flatnonzero(has_enough)]
    prompt = clusters[has_enough]
    return BestOfNPoint(
        n=n,
        kl=best_of_n_kl(n),
        picked=mean_estimate(np.array([expected_quality(r, q, n) for r, q in enough]), prompt),
        oracle=mean_estimate(np.array([expected_quality(q, q, n) for _, q in enough]), prompt),
        random=mean_estimate(np.array([float(q.mean()) for _, q in enough]), prompt),
        majority=None if majority is None else mean_estimate(majority[has_enough], prompt),
    )


def _majority_by_n(
    prompts: CheckedPrompts, answers: Sequence[Sequence[str | None]], n_values: Sequence[int]
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
