"""What an evaluation found, what it was measured on, and its form on disk.

Guarantees: ``results.json`` is strict JSON (a number that is not defined is null, with its reason beside it)
and names model, data, versions and schema; it is written after the rows, so that where it stands the
evaluation is complete; both files are complete or absent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from plaudit.evaluation.display import metrics_table, scores_table, subsets_table
from plaudit.evaluation.margins import MarginHistogram
from plaudit.evaluation.metrics import EvaluationMetrics
from plaudit.evaluation.plan import PreferenceRows
from plaudit.evaluation.reward_store import Cost
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.storage import write_rows
from plaudit.evaluation.suites import SuiteScores
from plaudit.objective.intervals import Estimate, Interval
from plaudit.plain_json import as_plain
from plaudit.preferences.report import ReadReport
from plaudit.tokens.report import TokenReport
from plaudit.whole_file import write_whole

__all__ = ["RESULTS_SCHEMA", "RESULTS_SCHEMA_VERSION", "EvaluatedData", "EvaluationResult", "Throughput"]

RESULTS_SCHEMA = "plaudit.evaluation"
"""What a set's ``results.json`` calls itself."""

RESULTS_SCHEMA_VERSION = 1
"""Goes up when a key of ``results.json`` changes its meaning or goes away; new keys leave it as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatedData:
    """What was evaluated, and what of it could not be."""

    sources: tuple[str, ...]
    """Where the data were read."""
    fingerprint: str
    """Of the preference table: the same data have the same one."""
    reading: ReadReport
    """What reading the data found: records, bad ones, duplicates."""
    tokenizing: TokenReport | None
    """What tokenising kept and lost: groups by reason (``no-comparison``: ratings only), prompts cut. None where the
    rewards came from a server or a file and nothing was tokenised here."""
    num_groups_not_scored: int
    """Token groups that compare nothing: kept by tokenising, in no statistic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """What scoring cost: of the whole run, whose sets are scored in one pass, whenever their rewards were computed.

    *Given* tokens are those of distinct sequences, *computed* ones met the model. Both are 0 where a server or a file
    gave the rewards and nobody counted.
    """

    num_sequences: int
    """Distinct sequences."""
    num_sequences_known: int
    """Those of them whose rewards an earlier or interrupted run had stored."""
    num_tokens_given: int
    """Sum of the lengths of all distinct sequences."""
    num_tokens_computed: int
    """Tokens that went through the model: fewer, where sequences share a beginning."""
    seconds: float
    """Time to score, model loading and tokenising apart."""
    sequences_per_s: float
    """Distinct sequences over seconds."""
    given_tokens_per_s: float
    """Given tokens over seconds: to be compared with a loop that computes every one."""
    computed_tokens_per_s: float
    """Computed tokens over seconds."""

    @classmethod
    def of(cls, cost: Cost, num_known: int = 0) -> Throughput:
        """The rates of a cost."""
        rate = 1 / cost.seconds if cost.seconds else 0.0
        return cls(
            num_sequences=cost.num_sequences,
            num_sequences_known=num_known,
            num_tokens_given=cost.num_tokens_given,
            num_tokens_computed=cost.num_tokens_computed,
            seconds=cost.seconds,
            sequences_per_s=cost.num_sequences * rate,
            given_tokens_per_s=cost.num_tokens_given * rate,
            computed_tokens_per_s=cost.num_tokens_computed * rate,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """The outcome of `evaluate`: statistics, the rows they came from, and what they were measured on."""

    name: str
    """What the evaluation is called in tables."""
    model: str
    """Path or name of the model."""
    metrics: EvaluationMetrics
    """Every statistic."""
    rows: ComparisonRows
    """One entry per comparison."""
    preferences: PreferenceRows
    """The table that the rows point into."""
    data: EvaluatedData
    """What was evaluated."""
    throughput: Throughput
    """What it cost."""
    settings: Mapping[str, Any]
    """What was asked for: tie rule, limits, rendering."""
    versions: Mapping[str, str]
    """Versions of plaudit and the libraries under it."""
    created: str
    """When, in UTC, ISO 8601."""
    margins: MarginHistogram
    """Of the decided comparisons."""
    suite_scores: SuiteScores | None = None
    """What the suite's own rule gives; None for data without one."""
    store_texts: bool = True
    """Whether `save` writes prompts and completions beside the rewards."""

    def as_dict(self) -> dict[str, Any]:
        """The content of ``results.json`` as plain values; NaN stays NaN."""
        return {
            "schema": RESULTS_SCHEMA,
            "schema_version": RESULTS_SCHEMA_VERSION,
            "name": self.name,
            "model": self.model,
            "created": self.created,
            "versions": dict(self.versions),
            "settings": dict(self.settings),
            "data": asdict(self.data),
            "metrics": asdict(self.metrics),
            "margins": asdict(self.margins),
            "suite_scores": None if self.suite_scores is None else self.suite_scores.to_dict(),
            "throughput": asdict(self.throughput),
        }

    def to_json(self) -> str:
        """The content of ``results.json``."""
        values = as_plain(self.as_dict())
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, output_dir: str | Path) -> None:
        """Write ``rows.parquet`` and then ``results.json`` into ``output_dir``, which is made when absent."""
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").unlink(missing_ok=True)  # no statistics stand beside rows of another time
        write_rows(folder / "rows.parquet", self.rows, self.preferences, store_texts=self.store_texts)
        write_whole(folder / "results.json", self.to_json())

    def headline(self) -> tuple[str, Estimate]:
        """The one number to say: the score of the suite's leaderboard, or the accuracy; with its name."""
        if self.suite_scores is None:
            return "accuracy", self.metrics.accuracy
        score = self.suite_scores.headline_score
        low, high = (math.nan if end is None else end for end in (score.low, score.high))
        interval = Interval(low=low, high=high, method=score.interval)
        return score.name, Estimate(value=score.value, n=score.num_items, interval=interval)

    def table(self) -> Table:
        """The statistics as a table for the terminal."""
        return metrics_table(self.metrics, title=f"{self.model} on {self.name}")

    def print(self, console: Console | None = None) -> None:
        """Print the tables, and what was left out: a suite's own scores first."""
        console = console or Console()
        if self.suite_scores is not None:
            console.print(scores_table(self.suite_scores, title=f"{self.model} on {self.name}"))
            console.print(metrics_table(self.metrics, title=f"All comparisons of {self.name}"))
        else:
            console.print(self.table())
        if self.metrics.subsets and self.suite_scores is None:
            console.print(subsets_table(self.metrics))
        for line in self.footnotes():
            console.print(line, style="dim", highlight=False, markup=False)

    def footnotes(self) -> list[str]:
        """What was left out, and what scoring cost."""
        num_idle = self.data.num_groups_not_scored
        is_equal = (self.rows.better == self.rows.worse) & self.rows.is_decided
        num_equal = int(is_equal.sum()) if self.data.tokenizing else 0
        return [
            *(self.data.tokenizing.summary() if self.data.tokenizing else []),
            *(
                [f"{num_equal:,} comparisons of the same tokens count here, as equal rewards"]
                if num_equal
                else []
            ),
            *([f"{num_idle:,} groups compare nothing and were not scored"] if num_idle else []),
            throughput_line(self.throughput),
        ]


def throughput_line(cost: Throughput) -> str:
    """What scoring cost, as a sentence; without a rate where nothing was scored but read from a file."""
    known = f", {cost.num_sequences_known:,} of them before" if cost.num_sequences_known else ""
    if cost.seconds == 0:
        return f"rewards read: {cost.num_sequences:,} conversations{known}"
    if not cost.num_tokens_given:
        return f"{cost.num_sequences:,} conversations scored{known}, {cost.sequences_per_s:,.1f} a second"
    saved = 1 - cost.num_tokens_computed / cost.num_tokens_given
    return (
        f"{cost.num_tokens_given:,} tokens given, {cost.num_tokens_computed:,} computed ({saved:.0%} saved), "
        f"{cost.given_tokens_per_s:,.0f} given tokens/s; {cost.num_sequences:,} distinct sequences{known}"
    )
