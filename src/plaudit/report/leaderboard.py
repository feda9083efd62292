"""Many runs side by side: models by suites, the best of each suite, and which cannot be told from it.

Two models are told apart on the comparisons that both have, by plaudit's paired test (exact McNemar, or sign flips of
whole prompts), with Holm's correction over all models that are held against the best of a suite. The test is on the
share of comparisons decided rightly, also where a suite's headline score is another function of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.evaluation.folder import StoredSuite
from plaudit.evaluation.metrics import correctness_of
from plaudit.evaluation.shared_rows import share_rows
from plaudit.evaluation.significance import holm, paired_test
from plaudit.plain_json import as_plain
from plaudit.report.comparable import comparable_results
from plaudit.report.outputs import ModelOutput, read_outputs, without_repeats
from plaudit.report.scores import headline_of

__all__ = ["LEADERBOARD_SCHEMA_VERSION", "leaderboard_contents", "read_runs"]

LEADERBOARD_SCHEMA_VERSION = 1
"""Goes up when a key of the leaderboard's JSON changes its meaning or goes away; new keys leave it as it is."""

LEVEL = 0.05
"""Below this adjusted p two models are told apart (a convention of the field)."""

RULE = (
    "Each number is the score that its suite is known by, with its 95% interval. The best of a suite is marked. A "
    "model marked ≈ cannot be told from it: on the comparisons that both have, an exact paired test (McNemar's, or "
    "sign flips of whole prompts) gives p of at least 0.05 after Holm's correction over the models of the suite. The "
    "mean rank is over the suites that all ranked models have whole. A result marked † is of a part of the suite or of "
    "other data, or by another score or rule for equal rewards than the others: it is not ranked there, and its model "
    "has no mean rank. Where all are marked †, those on the same data are ranked, and the suite counts in no mean rank."
)
"""How the page is to be read."""


def read_runs(folder: str | Path) -> list[ModelOutput]:
    """Every evaluation at or below a folder.

    Raises:
        PlauditError: There is none.
    """
    return read_outputs([folder])


def leaderboard_contents(models: Sequence[ModelOutput], *, title: str | None = None) -> dict[str, Any]:
    """The leaderboard as plain values (docs/report.md); rows come by mean rank, then by name.

    Args:
        models: What `read_runs` gives.
        title: The heading.
    """
    models, repeats = without_repeats(models)
    suites = list(dict.fromkeys(name for model in models for name in model.suites))
    columns = {
        name: _column([(m.name, m.suites[name]) for m in models if name in m.suites]) for name in suites
    }
    ranked, shared = _ranked(columns, [model.name for model in models])
    ranks = {name: _ranks({model: columns[name][model] for model in ranked}) for name in shared}
    rows = [
        {
            "model": model.name,
            "path": model.evaluation.model,
            "created": model.evaluation.summary.get("created"),
            "mean_rank": float(np.mean([ranks[name][model.name] for name in shared]))
            if shared and model.name in ranked
            else None,
            "scores": {name: columns[name][model.name] for name in suites if model.name in columns[name]},
        }
        for model in models
    ]
    rows.sort(key=lambda row: (row["mean_rank"] is None, row["mean_rank"] or 0.0, row["model"]))
    contents = {
        "schema": "plaudit.leaderboard",
        "schema_version": LEADERBOARD_SCHEMA_VERSION,
        "title": title or "Leaderboard",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "plaudit": version("plaudit"),
        "suites": suites,
        "suites_of_mean_rank": shared,
        "headline_names": {
            name: list(dict.fromkeys(score["name"] for score in columns[name].values())) for name in suites
        },
        "missing": [
            {"model": model, "suite": name, "score": score["name"], "note": score["note"]}
            for name in suites
            for model, score in columns[name].items()
            if score["note"]
        ],
        "repeats": [{"model": m.evaluation.model, "folder": str(m.evaluation.folder)} for m in repeats],
        "rule": RULE,
        "rows": rows,
    }
    return as_plain(contents)


def _column(entries: Sequence[tuple[str, StoredSuite]]) -> dict[str, dict[str, Any]]:
    """Headline scores of one suite by model, each with its ``standing`` and what it rests on."""
    found = comparable_results({name: suite.result for name, suite in entries})
    column = {name: _score(suite.result, found.notes[name]) for name, suite in entries}
    for name in column:
        column[name]["standing"] = None if name in found.models else "partial"
    known = [name for name in found.models if column[name]["value"] is not None]
    if not known:
        return column
    best = max(known, key=lambda name: column[name]["value"])
    others = [(name, suite) for name, suite in entries if name in known and name != best]
    winner = dict(entries)[best]
    tests = [_test(winner, suite) for _, suite in others]
    adjusted = holm([test[0] for test in tests])
    column[best]["standing"] = "best"
    for (name, _), (_, num_shared), p in zip(others, tests, adjusted, strict=True):
        is_equal = column[name]["value"] == column[best]["value"]
        told = "best" if is_equal else "behind" if p < LEVEL else "not told apart"
        standing = told if num_shared else "not compared"
        column[name] |= {"standing": standing, "p_value": float(p), "num_shared": num_shared}
    return column


def _score(result: Mapping[str, Any], note: str | None) -> dict[str, Any]:
    headline = headline_of(result)
    score = {key: headline[key] for key in ("name", "value", "low", "high", "num_items")}
    return score | {"note": note, "standing": None, "p_value": None, "num_shared": None}


def _ranked(
    columns: Mapping[str, Mapping[str, Mapping[str, Any]]], models: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The models without a partial score, and the suites that all of them have.

    A suite that no model has whole ranks nobody, and leaves nobody out.
    """
    wholes = [name for name, column in columns.items() if any(not s["note"] for s in column.values())]
    partial = {model for name in wholes for model, score in columns[name].items() if score["note"]}
    ranked = [model for model in models if model not in partial]
    return ranked, [name for name in wholes if ranked and all(model in columns[name] for model in ranked)]


def _test(winner: StoredSuite, other: StoredSuite) -> tuple[float, int]:
    """p, not adjusted, and the decided comparisons it rests on; NaN where there are none."""
    shared, _ = share_rows({"winner": winner, "other": other})
    is_decided = shared.rows[0].is_decided & shared.rows[1].is_decided
    right = [
        correctness_of(rows.select(is_decided), ties=suite.result["metrics"]["ties"]).astype(np.float64)
        for rows, suite in zip(shared.rows, (winner, other), strict=True)
    ]
    if not is_decided.any():
        return math.nan, 0
    return paired_test(right[0], right[1], shared.rows[0].prompt[is_decided]).p_value, int(is_decided.sum())


def _ranks(column: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """1 for the highest; equal scores share the mean of their ranks; a score that is not defined is last."""
    values = {name: -np.inf if score["value"] is None else score["value"] for name, score in column.items()}
    return {
        name: 1 + sum(v > value for v in values.values()) + (sum(v == value for v in values.values()) - 1) / 2
        for name, value in values.items()
    }
