"""All that a report says, as plain values: what its page, its Markdown and its JSON are made from.

The keys are documented in docs/report.md. Every number comes from the stored results and rows; none is measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from plaudit.evaluation.folder import StoredSuite
from plaudit.plain_json import as_plain
from plaudit.report.distributions import length_points, unequal_margins
from plaudit.report.outputs import ModelOutput
from plaudit.report.scores import headline_of, scores_of

__all__ = ["REPORT_SCHEMA_VERSION", "report_contents"]

REPORT_SCHEMA_VERSION = 1
"""Goes up when a key of the report's JSON changes its meaning or goes away; new keys leave it as it is."""


def report_contents(
    models: Sequence[ModelOutput],
    *,
    title: str | None = None,
    best_of_n: Sequence[Mapping[str, Any]] = (),
    token_rewards: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report of some models as plain values; NaN is None.

    Args:
        models: What `read_outputs` gives.
        title: The heading; one is made from the models' names when absent.
        best_of_n: Curves, as `read_best_of_n` gives them.
        token_rewards: What `token_rewards` measured, if it was asked for.
    """
    suites = dict.fromkeys(name for model in models for name in model.suites)
    contents = {
        "schema": "plaudit.report",
        "schema_version": REPORT_SCHEMA_VERSION,
        "title": title or "Evaluation of " + _enumerated([model.name for model in models]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "plaudit": version("plaudit"),
        "models": [_model(model) for model in models],
        "suites": [_suite(name, models) for name in suites],
        "best_of_n": list(best_of_n),
        "token_rewards": token_rewards,
    }
    return as_plain(contents)


def _model(model: ModelOutput) -> dict[str, Any]:
    summary = model.evaluation.summary
    return {
        "name": model.name,
        "model": model.evaluation.model,
        "created": summary.get("created"),
        "versions": summary.get("versions") or {},
        "throughput": summary.get("throughput") or {},
        "suites": list(model.suites),
    }


def _suite(name: str, models: Sequence[ModelOutput]) -> dict[str, Any]:
    """One suite with the results of every model that has it."""
    results = [
        {"model": model.name, **_result(model.suites[name])} for model in models if name in model.suites
    ]
    return {"name": name, "results": results}


def _result(suite: StoredSuite) -> dict[str, Any]:
    result = suite.result
    return {
        "headline": headline_of(result),
        "scores": scores_of(result),
        "metrics": {key: value for key, value in result["metrics"].items() if key != "subsets"},
        "subsets": result["metrics"]["subsets"],
        "margins": unequal_margins(suite.rows),
        "length": length_points(suite.rows),
        "data": result.get("data") or {},
        "settings": result.get("settings") or {},
        "versions": result.get("versions") or {},
        "throughput": result.get("throughput") or {},
        "created": result.get("created"),
    }


def _enumerated(names: Sequence[str], most: int = 3) -> str:
    """Some names as words: all of them, or the first and how many more there are."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
