"""Preference data and a scorer in, an `EvaluationResult` out.

Guarantees: every comparison that survives tokenising is in the rows with both rewards; each distinct sequence
is scored once; a reward that is not a finite number is an error that names its record.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from plaudit.errors import PlauditError, unknown_choice
from plaudit.evaluation.metrics import TIE_RULES, compute_metrics
from plaudit.evaluation.plan import EvaluationPlan, PreferenceRows, plan_evaluation
from plaudit.evaluation.result import EvaluatedData, EvaluationResult, Throughput
from plaudit.preferences import Preferences
from plaudit.tokens import LengthLimits, Renderer, TokenTable, tokenize_preferences

__all__ = ["SequenceScorer", "evaluate"]


@runtime_checkable
class SequenceScorer(Protocol):
    """Anything that gives a reward to token sequences: `plaudit.scoring.Scorer`, an ensemble of them, or a stand-in."""

    @property
    def renderer(self) -> Renderer:
        """How its model wants conversations rendered."""
        ...

    @property
    def name(self) -> str:
        """What to call it in results; may be empty."""
        ...

    @property
    def num_tokens_given(self) -> int:
        """Tokens of all sequences given so far."""
        ...

    @property
    def num_tokens_computed(self) -> int:
        """Tokens that went through the model so far."""
        ...

    def score_sequences(
        self, sequences: Sequence[np.ndarray], *, description: str = ..., progress: bool = ...
    ) -> np.ndarray:
        """float32 [sequence], in the order of the sequences."""
        ...


def evaluate(
    scorer: SequenceScorer,
    preferences: Preferences,
    *,
    limits: LengthLimits | None = None,
    ties: str = "zero",
    output_dir: str | Path | None = None,
    store_texts: bool = True,
    progress: bool = True,
    name: str = "preferences",
    model: str | None = None,
) -> EvaluationResult:
    """Score every comparison of some preference data and measure how well the rewards agree with it.

    Args:
        scorer: The model under evaluation.
        preferences: The data.
        limits: Length limits in tokens; none when absent.
        ties: What equal rewards count for: ``zero`` (the benchmarks' rule) or ``half``.
        output_dir: Where ``results.json`` and ``rows.parquet`` go; nothing is written when absent.
        store_texts: Whether ``rows.parquet`` holds prompts and completions beside the rewards.
        progress: Whether to show progress.
        name: What the evaluation is called in tables.
        model: What to call the model in results; the scorer's own name when absent.

    Raises:
        PlauditError: An unknown tie rule, a reward that is not finite, streamed preferences, or what
            tokenising raises.

    Example::

        scorer = Scorer.from_pretrained("my-model")
        result = evaluate(scorer, read_preferences("held-out.jsonl"), output_dir="results")
        result.print()
    """
    if ties not in TIE_RULES:
        raise unknown_choice("--ties", ties, TIE_RULES)
    limits = limits or LengthLimits()
    tokens = tokenize_preferences(preferences, scorer.renderer, limits, progress=progress)
    assert isinstance(tokens, TokenTable), "a preference table becomes a token table"
    plan = plan_evaluation(tokens, preferences)
    rewards, throughput = _score(scorer, plan, progress=progress, name=name)
    _check_finite(rewards, plan, preferences)
    rows = plan.rows.with_rewards(rewards)
    result = EvaluationResult(
        name=name,
        model=model or scorer.name or type(scorer).__name__,
        metrics=compute_metrics(rows, ties=ties),
        rows=rows,
        preferences=preferences,
        data=EvaluatedData(
            sources=preferences.report.sources,
            fingerprint=preferences.fingerprint,
            reading=preferences.report,
            tokenizing=tokens.report,
            num_groups_not_scored=plan.num_groups_without_comparisons,
        ),
        throughput=throughput,
        settings={"ties": ties, "limits": asdict(limits), "rendering": asdict(scorer.renderer.rule)},
        versions={package: version(package) for package in ("plaudit", "torch", "transformers")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        store_texts=store_texts,
    )
    if output_dir is not None:
        result.save(output_dir)
    return result


def _score(
    scorer: SequenceScorer, plan: EvaluationPlan, *, progress: bool, name: str
) -> tuple[np.ndarray, Throughput]:
    """float32 [sequence], and what it cost."""
    given, computed = scorer.num_tokens_given, scorer.num_tokens_computed
    start = time.perf_counter()
    rewards = np.empty(0, dtype=np.float32)
    if plan.sequences:
        rewards = scorer.score_sequences(plan.sequences, description=f"scoring {name}", progress=progress)
    seconds = time.perf_counter() - start
    given, computed = scorer.num_tokens_given - given, scorer.num_tokens_computed - computed
    return rewards, Throughput(
        num_tokens_given=given,
        num_tokens_computed=computed,
        seconds=seconds,
        given_tokens_per_s=given / seconds if seconds else 0.0,
        computed_tokens_per_s=computed / seconds if seconds else 0.0,
    )


def _check_finite(rewards: np.ndarray, plan: EvaluationPlan, preferences: PreferenceRows) -> None:
    is_bad = ~np.isfinite(rewards)
    if not is_bad.any():
        return
    rows = plan.rows
    first = int(np.flatnonzero(is_bad[rows.better] | is_bad[rows.worse])[0])
    index = int(rows.better[first] if is_bad[rows.better[first]] else rows.worse[first])
    raise PlauditError(
        f"the reward of a sequence of {len(plan.sequences[index]):,} tokens is {rewards[index]} "
        f"({np.count_nonzero(is_bad):,} of {len(rewards):,} sequences have no finite reward)",
        where=preferences[int(rows.group[first])].source or f"row {int(rows.group[first])}",
        fix="Score in float32, and check the weights for NaN.",
    )
