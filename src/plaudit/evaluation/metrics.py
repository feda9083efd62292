"""Every statistic of an evaluation, each computed in one place from `ComparisonRows`.

Guarantees: a comparison that the data call a tie has no better completion and enters no accuracy, loss or
baseline; it is counted. Equal rewards are counted, and are wrong (``ties="zero"``, the benchmarks' rule) or
half right (``ties="half"``). Each comparison counts once, whatever its weight; only ``training_loss`` weighs.
Intervals treat the comparisons of one prompt as dependent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from plaudit.errors import unknown_choice
from plaudit.evaluation.calibration import Calibration, measure_calibration
from plaudit.evaluation.length import LengthBias, measure_length_bias
from plaudit.evaluation.plan import PreferenceRows
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.style import StyleControl, control_for_length, control_for_style
from plaudit.objective.intervals import (
    Estimate,
    bootstrap_means,
    mean_estimate,
    no_estimate,
    percentile_interval,
    proportion_estimate,
)
from plaudit.objective.metrics import PairSums

__all__ = ["TIE_RULES", "EvaluationMetrics", "SubsetMetrics", "compute_metrics", "correctness_of"]

TIE_RULES = ("zero", "half")
"""What a comparison with equal rewards counts for in an accuracy: nothing, or half a correct one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetMetrics:
    """One subset's line in the table."""

    name: str | None
    """The subset; None for the comparisons that name none."""
    num_comparisons: int
    """Comparisons in it, data ties included."""
    num_data_ties: int
    """Comparisons that the data call a tie."""
    num_reward_ties: int
    """Decided comparisons whose rewards are equal."""
    accuracy: Estimate
    """Share of decided comparisons that the rewards get right."""
    mean_margin: Estimate
    """Mean of reward(better) - reward(worse)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationMetrics:
    """How well rewards agree with judgements. *Decided* comparisons are those that are not data ties."""

    ties: str
    """The rule for equal rewards: ``zero`` or ``half``."""
    num_groups: int
    """Groups with at least one comparison here."""
    num_prompts: int
    """Distinct prompts among them."""
    num_comparisons: int
    """Comparisons, data ties included."""
    num_data_ties: int
    """Comparisons that the data call a tie."""
    num_reward_ties: int
    """Decided comparisons whose rewards are equal."""
    num_sequences: int
    """Distinct token sequences that were scored."""
    accuracy: Estimate
    """Share of decided comparisons with reward(better) > reward(worse); equal rewards by ``ties``."""
    macro_accuracy: Estimate
    """Plain mean of the subsets' accuracies; its n is the number of subsets."""
    reward_tie_rate: Estimate
    """Share of decided comparisons with equal rewards."""
    training_loss: float
    """Mean over decided comparisons, by their weights, of -log sigmoid(margin - required margin): the number that
    training reports as ``rm/loss``, whatever its objective."""
    mean_margin: Estimate
    """Mean of reward(better) - reward(worse)."""
    median_margin: float
    """Its median."""
    mean_reward_better: Estimate
    """Mean reward of preferred completions, one term per comparison."""
    mean_reward_worse: Estimate
    """Mean reward of the others."""
    reward_mean: float
    """Mean reward over distinct sequences."""
    reward_std: float
    """Standard deviation over distinct sequences (divisor n)."""
    calibration: Calibration
    """Whether sigmoid(margin) is the probability that it claims to be."""
    length: LengthBias
    """What length alone predicts, and how reward follows it."""
    style: StyleControl
    """Accuracy with the style of both completions held equal: their length, and their markdown where texts were
    given."""
    subsets: tuple[SubsetMetrics, ...]
    """One entry per subset in order of appearance; empty when the data name none."""


_Subset: TypeAlias = tuple[str | None, ComparisonRows]
"""A subset's name and its comparisons."""


def compute_metrics(
    rows: ComparisonRows, *, ties: str = "zero", preferences: PreferenceRows | None = None
) -> EvaluationMetrics:
    """All statistics of some comparisons.

    Args:
        rows: The comparisons, with finite rewards.
        ties: What equal rewards count for.
        preferences: The table that the rows point into: markdown is counted in its texts. Without it style control
            knows lengths only; all else is the same.

    Raises:
        PlauditError: ``ties`` is neither ``zero`` nor ``half``.
    """
    decided = rows.select(rows.is_decided)
    correctness = correctness_of(decided, ties=ties)
    sums = _pair_sums(rows)
    subsets = _split_by_subset(rows)
    return EvaluationMetrics(
        ties=ties,
        num_groups=len(np.unique(rows.group)),
        num_prompts=len(np.unique(rows.prompt)),
        num_comparisons=len(rows),
        num_data_ties=sums.num_data_ties,
        num_reward_ties=sums.num_reward_ties,
        num_sequences=len(rows.sequence_reward),
        accuracy=proportion_estimate(correctness, decided.prompt),
        macro_accuracy=_macro_accuracy(subsets, ties),
        reward_tie_rate=proportion_estimate(decided.is_reward_tie.astype(np.float64), decided.prompt),
        training_loss=sums.as_dict()["loss"],
        mean_margin=mean_estimate(decided.margin, decided.prompt),
        median_margin=float(np.median(decided.margin)) if len(decided) else math.nan,
        mean_reward_better=mean_estimate(decided.reward_better, decided.prompt),
        mean_reward_worse=mean_estimate(decided.reward_worse, decided.prompt),
        **_reward_moments(rows.sequence_reward),
        calibration=measure_calibration(decided.margin, decided.prompt),
        length=measure_length_bias(decided, correctness),
        style=control_for_length(decided, correctness)
        if preferences is None
        else control_for_style(decided, correctness, preferences),
        subsets=tuple(_subset_metrics(name, part, ties) for name, part in subsets),
    )


def correctness_of(decided: ComparisonRows, *, ties: str) -> Float[np.ndarray, " comparison"]:
    """1 where reward(better) > reward(worse), 0 where less; for equal rewards 0 or a half, by the rule."""
    if ties not in TIE_RULES:
        raise unknown_choice("--ties", ties, TIE_RULES)
    tie_value = 0.5 if ties == "half" else 0.0
    return (decided.reward_better > decided.reward_worse) + tie_value * decided.is_reward_tie


def _pair_sums(rows: ComparisonRows) -> PairSums:
    return PairSums.from_rewards(
        rows.reward_better,
        rows.reward_worse,
        margin=rows.required_margin,
        weight=rows.weight,
        is_tie=rows.is_tie,
    )


def _reward_moments(rewards: Float[np.ndarray, " sequence"]) -> dict[str, float]:
    if len(rewards) == 0:
        return {"reward_mean": math.nan, "reward_std": math.nan}
    return {
        "reward_mean": float(rewards.mean(dtype=np.float64)),
        "reward_std": float(rewards.std(dtype=np.float64)),
    }


def _split_by_subset(rows: ComparisonRows) -> list[_Subset]:
    """The comparisons of each subset; none when the data name no subset at all."""
    if not rows.subset_names:
        return []
    named: list[_Subset] = [
        (name, rows.select(rows.subset == code)) for code, name in enumerate(rows.subset_names)
    ]
    unnamed = rows.select(rows.subset < 0)
    return named + ([(None, unnamed)] if len(unnamed) else [])


def _subset_metrics(name: str | None, rows: ComparisonRows, ties: str) -> SubsetMetrics:
    decided = rows.select(rows.is_decided)
    return SubsetMetrics(
        name=name,
        num_comparisons=len(rows),
        num_data_ties=len(rows) - len(decided),
        num_reward_ties=int(np.count_nonzero(decided.is_reward_tie)),
        accuracy=proportion_estimate(correctness_of(decided, ties=ties), decided.prompt),
        mean_margin=mean_estimate(decided.margin, decided.prompt),
    )


def _macro_accuracy(subsets: list[_Subset], ties: str) -> Estimate:
    """The plain mean over subsets with a decided comparison; prompts are resampled within each subset."""
    parts = [rows.select(rows.is_decided) for _, rows in subsets if rows.is_decided.any()]
    if not parts:
        return no_estimate("the data name no subset with a decided comparison")
    correctness = [correctness_of(part, ties=ties) for part in parts]
    # A seed of its own for each subset: drawn alike, equally long subsets would move together.
    resampled = [
        bootstrap_means(correct, part.prompt, seed=seed)
        for seed, (correct, part) in enumerate(zip(correctness, parts, strict=True))
    ]
    return Estimate(
        value=float(np.mean([correct.mean() for correct in correctness])),
        n=len(parts),
        interval=percentile_interval(np.mean(resampled, axis=0)),
    )
