"""The output folder while a run writes it: what of it stays, and the summary that makes it whole.

Guarantees: results of another model, or of other data under the same name, are replaced only where that is asked for;
what an interrupted run leaves is no whole evaluation, and the next run keeps the sets that it has.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError
from plaudit.evaluation.folder import RUN_SCHEMA, RUN_SCHEMA_VERSION, UNFINISHED, read_json
from plaudit.evaluation.result import EvaluationResult, Throughput
from plaudit.model.record import installed_versions
from plaudit.plain_json import write_json
from plaudit.preferences import Preferences

__all__ = ["check_output_folder", "prepare_folder", "write_summary"]

log = logging.getLogger(__name__)


def prepare_folder(
    folder: Path,
    fingerprint: str | None,
    model: str,
    *,
    overwrite: bool,
    data: Mapping[str, Preferences] | None = None,
) -> list[str]:
    """The sets that stand in the folder already and stay; ``results.json`` is put aside until the run's end.

    Args:
        folder: Where.
        fingerprint: Of the model; None where it has none, and its name decides.
        model: What the model is called.
        overwrite: Whether what is of another model, or of other data of the same name, is replaced.
        data: What the run is on, by the names of its sets.

    Raises:
        PlauditError: It holds the results of another model, of other data under a name of ``data``, or something that
            is no evaluation.
    """
    check_output_folder(folder)
    summary = read_json(folder / "results.json")
    is_finished = summary is not None
    summary = summary if is_finished else read_json(folder / UNFINISHED)
    if summary is None:
        return []
    is_same = _is_of(summary, model, fingerprint)
    if not is_same and not overwrite:
        raise PlauditError(
            f"the folder holds results of another model ({summary.get('model')}, or its weights have changed)",
            where=str(folder),
            fix="Name another --output-dir, or replace them: --overwrite.",
        )
    if not is_same:
        for name in _names_in(summary):  # else they would be found as if they were of this model
            (folder / name / "results.json").unlink(missing_ok=True)
        (folder / "results.json").unlink(missing_ok=True)
        (folder / UNFINISHED).unlink(missing_ok=True)
        return []
    for name, preferences in (data or {}).items():
        if name in _names_in(summary):
            _check_data(folder / name, preferences, overwrite=overwrite)
    if is_finished:
        (folder / "results.json").replace(folder / UNFINISHED)
    return [name for name in _names_in(summary) if (folder / name / "results.json").is_file()]


def check_output_folder(folder: Path) -> None:
    """Whether results can be written in a folder, which need not be there.

    Raises:
        PlauditError: It, or what it would be in, is a file or may not be written.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        what = "is not to be written" if nearest.is_dir() else "is a file, not a folder"
        raise PlauditError(f"{nearest} {what}", where="--output-dir", fix="Name another folder.")


def write_summary(
    folder: Path,
    model: str,
    fingerprint: str | None,
    names: Sequence[str],
    results: Mapping[str, EvaluationResult],
    throughput: Throughput,
) -> None:
    """Write the run's ``results.json``; sets that another run of the same model has written meanwhile stay in it.

    Args:
        folder: Where.
        model: What the model is called.
        fingerprint: What its rewards are stored under.
        names: The sets in the folder: those of earlier runs of the same model, and this one's.
        results: This run's.
        throughput: What this run's sets took to score.
    """
    found = [read_json(folder / file) or {} for file in (UNFINISHED, "results.json")]
    before = [summary for summary in found if _is_of(summary, model, fingerprint)]
    others = [name for s in before for name in _names_in(s) if (folder / name / "results.json").is_file()]
    names = list(dict.fromkeys([*others, *names]))
    stored = {name: headline for s in before for name, headline in s.get("headlines", {}).items()}
    headlines = {**stored, **{name: _headline(result) for name, result in results.items()}}
    summary = {
        "schema": RUN_SCHEMA,
        "schema_version": RUN_SCHEMA_VERSION,
        "model": model,
        "model_fingerprint": fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": installed_versions(),
        "throughput": asdict(throughput),
        "suites": names,
        "headlines": {name: headlines[name] for name in names if name in headlines},
    }
    write_json(folder / "results.json", summary)
    (folder / UNFINISHED).unlink(missing_ok=True)


def _is_of(summary: Mapping[str, Any], model: str, fingerprint: str | None) -> bool:
    if summary.get("schema") != RUN_SCHEMA:
        return False
    is_stored = fingerprint is not None
    return summary.get("model_fingerprint") == fingerprint if is_stored else summary.get("model") == model


def _names_in(summary: Mapping[str, Any]) -> list[str]:
    """The sets that a summary names: those of its folder, whatever else may stand there."""
    names = summary.get("suites")
    return [name for name in names if name == Path(name).name] if isinstance(names, list) else []


def _check_data(folder: Path, preferences: Preferences, *, overwrite: bool) -> None:
    """Refuse to replace a set by one that is called alike and was read elsewhere; say so where its data changed."""
    stored = (read_json(folder / "results.json") or {}).get("data", {})
    if not stored or stored.get("fingerprint") == preferences.fingerprint:
        return
    before, now = list(stored.get("sources", [])), list(preferences.report.sources)
    if before != now and not overwrite:
        raise PlauditError(
            f"it holds results on other data of the same name (from {', '.join(before)}, not {', '.join(now)})",
            where=str(folder),
            fix="Name another --output-dir, or replace them: --overwrite.",
        )
    log.warning("%s: its data are others now (or more or less of them), and its results are replaced", folder)


def _headline(result: EvaluationResult) -> dict[str, Any]:
    score, estimate = result.headline()
    return {
        "score": score,
        "value": estimate.value,
        "n": estimate.n,
        "low": estimate.interval.low,
        "high": estimate.interval.high,
    }
