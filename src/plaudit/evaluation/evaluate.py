"""Preference data and a scorer in, an `EvaluationResult` out: a run over one data set (`plaudit.evaluation.run`).

Guarantees: every comparison that survives tokenising is in the rows with both rewards; each distinct sequence
is scored once; a reward that is not a finite number is an error that names its record.
"""

from __future__ import annotations

from pathlib import Path

from plaudit.evaluation.result import EvaluationResult
from plaudit.evaluation.reward_source import RewardSource, SequenceScorer
from plaudit.evaluation.run import measure
from plaudit.evaluation.sets import EvaluationSet
from plaudit.preferences import Preferences
from plaudit.tokens import LengthLimits

__all__ = ["SequenceScorer", "evaluate"]


def evaluate(
    scorer: SequenceScorer | RewardSource,
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
        scorer: The model under evaluation, or another source of rewards.
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
    run = measure(
        scorer,
        [EvaluationSet(name=name, preferences=preferences)],
        limits=limits,
        ties=ties,
        store_texts=store_texts,
        progress=progress,
        model_name=model,
    )
    result = run.results[name]
    if output_dir is not None:
        result.save(output_dir)
    return result
