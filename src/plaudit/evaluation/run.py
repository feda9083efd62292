"""An evaluation run: one model on several data sets and suites, in one pass over all their distinct sequences.

Guarantees: a sequence that several sets have is scored once; each set's folder is whole or absent; ``results.json`` of
the run is written last, so that where it stands the run is complete; a run that is given again costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.errors import PlauditError, unknown_choice
from plaudit.evaluation.folder import REWARDS_FOLDER, prepare_folder, write_summary
from plaudit.evaluation.margins import margin_histogram
from plaudit.evaluation.metrics import TIE_RULES, compute_metrics
from plaudit.evaluation.result import EvaluatedData, EvaluationResult, Throughput
from plaudit.evaluation.reward_source import PlannedSet, RewardSource, SequenceScorer, TokenSource
from plaudit.evaluation.reward_store import RewardStore
from plaudit.evaluation.scoring_pass import score_distinct
from plaudit.evaluation.suites import Suite, across_suites, items_of
from plaudit.model.record import installed_versions
from plaudit.preferences import Preferences
from plaudit.tokens import LengthLimits
from plaudit.training.agreement import first_decides

__all__ = ["EvaluationRun", "EvaluationSet", "evaluate_suites", "measure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSet:
    """Something to evaluate on."""

    name: str
    """What it is called in tables, and its folder's name."""
    preferences: Preferences
    """The data."""
    suite: Suite | None = None
    """The benchmark whose rule turns rewards into its scores; None for data without one."""


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
    _check_names(sets)
    source = _as_source(model)
    folder = None if output_dir is None else Path(output_dir)
    fingerprint = source.fingerprint() if folder is not None else None
    kept: list[str] = []
    if folder is not None:
        data = {part.name: part.preferences for part in sets}
        kept = first_decides(
            lambda: prepare_folder(folder, fingerprint, name or source.name, overwrite=overwrite, data=data)
        )
    with ExitStack() as opened:
        store = None
        if folder is not None and fingerprint is not None and getattr(source, "is_stored", True):
            store = opened.enter_context(RewardStore(folder / REWARDS_FOLDER, fingerprint, forget=rescore))
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
    _check_names(sets)
    source = _as_source(model)
    planned = [source.plan(part.preferences, limits or LengthLimits(), progress=progress) for part in sets]
    merged = _merge(sets, planned)
    rewards, cost, num_known = score_distinct(
        source,
        merged.items,
        merged.keys,
        store=store,
        place_of=merged.place_of,
        description=f"scoring {', '.join(part.name for part in sets)}",
        progress=progress,
    )
    throughput = Throughput.of(cost, num_known)
    title = model_name or source.name
    results = {
        part.name: _result(part, of_set, rewards[index], throughput, title, ties, store_texts)
        for part, of_set, index in zip(sets, planned, merged.indices, strict=True)
    }
    return EvaluationRun(model=title, results=_with_scores_across(results), throughput=throughput)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Merged:
    """The distinct items of all sets."""

    items: list[Any]
    keys: list[bytes]
    indices: list[np.ndarray]  # for each set: which of the items each of its sequences is
    sets: Sequence[EvaluationSet]
    planned: Sequence[PlannedSet]

    def place_of(self, item: int) -> str:
        """Where the first comparison with this item was read."""
        for part, of_set, index in zip(self.sets, self.planned, self.indices, strict=True):
            rows = of_set.plan.rows
            names_it = (index[rows.better] == item) | (index[rows.worse] == item)
            if names_it.any():
                group = int(rows.group[int(np.flatnonzero(names_it)[0])])
                return part.preferences[group].source or f"row {group} of {part.name}"
        return f"sequence {item}"


def _merge(sets: Sequence[EvaluationSet], planned: Sequence[PlannedSet]) -> _Merged:
    items: list[Any] = []
    index_of: dict[bytes, int] = {}
    indices = []
    for part in planned:
        index = np.empty(len(part.plan.keys), dtype=np.int64)
        for place, (key, item) in enumerate(zip(part.plan.keys, part.plan.sequences, strict=True)):
            index[place] = index_of.setdefault(key, len(items))
            if index[place] == len(items):
                items.append(item)
        indices.append(index)
    return _Merged(items=items, keys=list(index_of), indices=indices, sets=sets, planned=planned)


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


def _as_source(model: SequenceScorer | RewardSource) -> RewardSource:
    return TokenSource(model) if isinstance(model, SequenceScorer) else model


def _check_names(sets: Sequence[EvaluationSet]) -> None:
    if not sets:
        raise PlauditError("there is nothing to evaluate on", fix="Give --suite or --data.")
    names = [part.name for part in sets]
    for name in names:
        if names.count(name) > 1:
            raise PlauditError(f"two data sets are called {name!r}", fix="Give each a name of its own.")
        if name in ("", ".", "..", REWARDS_FOLDER) or "/" in name:
            raise PlauditError(
                f"a data set is called {name!r}, which can be no folder's name", fix="Give another."
            )
