"""An evaluation run: one model on several data sets and suites, in one pass over all their distinct sequences.

Guarantees: a sequence that several sets have is scored once; each set's folder is whole or absent; ``results.json`` of
the run is written last, so that where it stands the run is complete; a run that is given again costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from plaudit.errors import unknown_choice
from plaudit.evaluation.margins import margin_histogram
from plaudit.evaluation.metrics import TIE_RULES, compute_metrics
from plaudit.evaluation.output_folder import prepare_folder, write_summary
from plaudit.evaluation.result import EvaluatedData, EvaluationResult, Throughput
from plaudit.evaluation.reward_source import PlannedSet, RewardSource, SequenceScorer, as_source
from plaudit.evaluation.reward_store import RewardStore
from plaudit.evaluation.scoring_pass import open_store, score_distinct
from plaudit.evaluation.sets import EvaluationSet, check_names, distinct_items
from plaudit.evaluation.suites import across_suites, items_of
from plaudit.model.record import installed_versions
from plaudit.processes import first_decides
from plaudit.tokens import LengthLimits

__all__ = ["EvaluationRun", "evaluate_suites", "measure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRun:
    """What a run has found."""

    model: str
    """What the model is called."""
    results: Mapping[str, EvaluationResult]
    """For each set, in the order given."""
    throughput: Throughput
    """What scoring all of them took."""


def evaluate_suites(
    model: SequenceScorer | RewardSource,
    sets: Sequence[EvaluationSet],
    *,
    output_dir: str | Path | None = None,
    limits: LengthLimits | None = None,
    ties: str = "zero",
    store_texts: bool = True,
    progress: bool = True,
    name: str | None = None,
    rescore: bool = False,
    overwrite: bool = False,
) -> EvaluationRun:
    """Score the distinct sequences of all sets in one pass, and measure each set by its rule.

    On several processes (torchrun) every process calls it alike; the first one writes.

    Args:
        model: A scorer, or another source of rewards (a server, a file).
        sets: What to evaluate on.
        output_dir: Gets a folder for each set, ``results.json`` of the run, and ``rewards/``: what was scored before,
            in this folder and by this model, is not scored again. Nothing is written when absent.
        limits: Length limits in tokens; none when absent.
        ties: What equal rewards count for: ``zero`` (the benchmarks' rule) or ``half``.
        store_texts: Whether the rows hold prompts and completions beside the rewards.
        progress: Whether to show progress.
        name: What to call the model; the source's own name when absent.
        rescore: Score again what was scored before.
        overwrite: Whether results in the folder of another model, or of other data of the same name, are replaced.

    Raises:
        PlauditError: An unknown tie rule, two sets of one name, a folder with the results of another model or of other
            data of the same name, a reward that is not finite, or what the source raises.

    Example::

        sets = [EvaluationSet(name="held-out", preferences=read_preferences("held-out.jsonl"))]
        evaluate_suites(Scorer.from_pretrained("my-model"), sets, output_dir="results")
    """
    check_names(sets)
    source = as_source(model)
    folder = None if output_dir is None else Path(output_dir)
    fingerprint = source.fingerprint() if folder is not None else None
    kept: list[str] = []
    if folder is not None:
        data = {part.name: part.preferences for part in sets}
        kept = first_decides(
            lambda: prepare_folder(folder, fingerprint, name or source.name, overwrite=overwrite, data=data)
        )
    with open_store(source, fingerprint, folder, forget=rescore) as store:
        run = measure(
            source,
            sets,
            limits=limits,
            ties=ties,
            store_texts=store_texts,
            progress=progress,
            model_name=name,
            store=store,
        )
    if folder is not None:
        first_decides(partial(_save, run, folder, fingerprint, kept))
    return run


def measure(
    model: SequenceScorer | RewardSource,
    sets: Sequence[EvaluationSet],
    *,
    limits: LengthLimits | None = None,
    ties: str = "zero",
    store_texts: bool = True,
    progress: bool = True,
    model_name: str | None = None,
    store: RewardStore | None = None,
) -> EvaluationRun:
    """`evaluate_suites` without a folder: rewards come from ``store`` where it knows them, and go there.

    Raises:
        PlauditError: As `evaluate_suites`.
    """
    if ties not in TIE_RULES:
        raise unknown_choice("--ties", ties, TIE_RULES)
    source = as_source(model)
    planned = [source.plan(part.preferences, limits or LengthLimits(), progress=progress) for part in sets]
    merged = distinct_items(sets, planned)
    rewards, cost, num_known = score_distinct(
        source,
        merged.items,
        merged.keys,
        store=store,
        place_of=merged.place_of,
        description=f"scoring {', '.join(part.name for part in sets)}",
        progress=progress,
    )
    for of_set in planned:
        if "server" in of_set.settings:
            of_set.settings["num_truncated"] = cost.num_truncated
    throughput = Throughput.of(cost, num_known)
    title = model_name or source.name
    results = {
        part.name: _result(part, of_set, rewards[index], throughput, title, ties, store_texts)
        for part, of_set, index in zip(sets, planned, merged.indices, strict=True)
    }
    return EvaluationRun(model=title, results=_with_scores_across(results), throughput=throughput)


def _result(
    part: EvaluationSet,
    planned: PlannedSet,
    rewards: np.ndarray,
    throughput: Throughput,
    model: str,
    ties: str,
    store_texts: bool,
) -> EvaluationResult:
    rows = planned.plan.rows.with_rewards(rewards)
    preferences = part.preferences
    scores = None if part.suite is None else part.suite.score(items_of(rows, preferences), ties=ties)
    return EvaluationResult(
        name=part.name,
        model=model,
        metrics=compute_metrics(rows, ties=ties, preferences=preferences),
        suite_scores=scores,
        margins=margin_histogram(rows.margin[rows.is_decided]),
        rows=rows,
        preferences=preferences,
        data=EvaluatedData(
            sources=preferences.report.sources,
            fingerprint=preferences.fingerprint,
            reading=preferences.report,
            tokenizing=planned.tokenizing,
            num_groups_not_scored=planned.plan.num_groups_without_comparisons,
        ),
        throughput=throughput,
        settings={"ties": ties, **planned.settings},
        versions={name: v for name, v in installed_versions().items() if name in _VERSIONS},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        store_texts=store_texts,
    )


def _with_scores_across(results: dict[str, EvaluationResult]) -> dict[str, EvaluationResult]:
    """The results with the scores that rest on several suites; sets are told by their suite, not by their name."""
    found = {r.suite_scores.suite: r.suite_scores for r in results.values() if r.suite_scores is not None}
    whole = across_suites(found)
    return {
        name: result
        if result.suite_scores is None or found[result.suite_scores.suite] is not result.suite_scores
        else replace(result, suite_scores=whole[result.suite_scores.suite])
        for name, result in results.items()
    }


_VERSIONS = ("plaudit", "torch", "transformers")


def _save(run: EvaluationRun, folder: Path, fingerprint: str | None, kept: Sequence[str]) -> None:
    for name, result in run.results.items():
        result.save(folder / name)
    write_summary(folder, run.model, fingerprint, [*kept, *run.results], run.results, run.throughput)
