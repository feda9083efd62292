"""The folder of an evaluation: how it is laid out, and read again.

    O/results.json            the run: model, versions, throughput, names of the sets; written last
    O/results.json.unfinished the same of an earlier run, while a later one has not come to its end
    O/<set>/results.json      every statistic of a set
    O/<set>/rows.parquet      one row for each comparison
    O/rewards/                what was scored, so that it is not scored again

Of several models each has such a folder, `O/<model>/`. A folder that holds ``results.json`` and ``rows.parquet`` side
by side, as `plaudit.evaluation.evaluate` writes it, is read as an evaluation of one set.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plaudit.errors import PlauditError
from plaudit.evaluation.result import RESULTS_SCHEMA_VERSION, EvaluationResult, Throughput
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.storage import read_rows
from plaudit.evaluation.suites import SuiteScores
from plaudit.model.record import installed_versions
from plaudit.preferences import Preferences
from plaudit.training.plain_json import write_json

__all__ = [
    "REWARDS_FOLDER",
    "RUN_SCHEMA_VERSION",
    "Evaluation",
    "StoredSuite",
    "find_evaluations",
    "folder_names",
    "prepare_folder",
    "read_evaluation",
    "write_summary",
]

RUN_SCHEMA_VERSION = 2
"""Of the run's ``results.json``; goes up when a key changes its meaning or goes away."""

REWARDS_FOLDER = "rewards"
UNFINISHED = "results.json.unfinished"
"""The summary of what stood in the folder before, from the beginning of a run to its end."""

RUN_SCHEMA = "plaudit.evaluation-run"
SET_SCHEMA = "plaudit.evaluation"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredSuite:
    """One set of a stored evaluation; rows are read when they are asked for."""

    folder: Path
    """Where its files are."""
    result: dict[str, Any]
    """The content of ``results.json``."""

    @cached_property
    def rows(self) -> ComparisonRows:
        """The rewards and lengths of every comparison."""
        return read_rows(self.folder / "rows.parquet")

    def texts(self) -> pa.Table:
        """The rows as they are stored, in the same order, with texts, keys and places (`storage.ROWS_SCHEMA`)."""
        return pq.read_table(self.folder / "rows.parquet")

    @cached_property
    def scores(self) -> SuiteScores | None:
        """What the suite's own rule gives; None for data without one."""
        values = self.result.get("suite_scores")
        return None if values is None else SuiteScores.from_dict(values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A stored evaluation of one model."""

    folder: Path
    """Where it was read."""
    model: str
    """What the model is called."""
    summary: dict[str, Any]
    """The content of the run's ``results.json``."""
    suites: dict[str, StoredSuite]
    """Its sets by name, in their order."""


def read_evaluation(folder: str | Path) -> Evaluation:
    """The evaluation in a folder.

    Raises:
        PlauditError: There is none, it is of several models, or of a schema that this plaudit does not read.
    """
    folder = Path(folder)
    summary = _read_json(folder / "results.json")
    if summary is None:
        inner = [path.name for path in find_evaluations(folder)]
        fix = (
            f"Name one of its folders: {', '.join(inner[:5])}."
            if inner
            else "Run plaudit eval with this --output-dir, to its end."
        )
        raise PlauditError("there is no results.json, so no whole evaluation", where=str(folder), fix=fix)
    if summary.get("schema") == SET_SCHEMA:
        _check_version(summary, RESULTS_SCHEMA_VERSION, folder)
        suites = {summary["name"]: StoredSuite(folder, summary)}
        return Evaluation(folder=folder, model=summary["model"], summary=summary, suites=suites)
    if summary.get("schema") != RUN_SCHEMA:
        raise PlauditError(
            "results.json is not of an evaluation", where=str(folder), fix="Name an evaluation's folder."
        )
    _check_version(summary, RUN_SCHEMA_VERSION, folder)
    suites = {}
    for name in summary["suites"]:
        result = _read_json(folder / name / "results.json")
        if result is None:
            raise PlauditError(
                f"the results of {name!r} are gone", where=str(folder / name), fix="Run plaudit eval again."
            )
        _check_version(result, RESULTS_SCHEMA_VERSION, folder / name)
        suites[name] = StoredSuite(folder / name, result)
    return Evaluation(folder=folder, model=summary["model"], summary=summary, suites=suites)


def find_evaluations(folder: str | Path) -> list[Path]:
    """The folders of evaluations at or below a folder, in order of their names; an evaluation's sets are not."""
    return list(_find(Path(folder)))


def write_summary(
    folder: Path,
    model: str,
    fingerprint: str | None,
    names: Sequence[str],
    results: Mapping[str, EvaluationResult],
    throughput: Throughput,
) -> None:
    """Write the run's ``results.json``.

    Args:
        folder: Where.
        model: What the model is called.
        fingerprint: What its rewards are stored under.
        names: The sets in the folder: those of earlier runs of the same model, and this one's.
        results: This run's.
        throughput: What this run's sets took to score.
    """
    names = list(dict.fromkeys(names))
    before = (_read_json(folder / UNFINISHED) or {}).get("headlines", {})
    headlines = {**before, **{name: _headline(result) for name, result in results.items()}}
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
    summary = _read_json(folder / "results.json")
    is_finished = summary is not None
    summary = summary if is_finished else _read_json(folder / UNFINISHED)
    if summary is None:
        return []
    is_same = summary.get("schema") == RUN_SCHEMA and (
        summary.get("model_fingerprint") == fingerprint
        if fingerprint is not None
        else summary.get("model") == model
    )
    if not is_same and not overwrite:
        raise PlauditError(
            f"the folder holds results of another model ({summary.get('model')}, or its weights have changed)",
            where=str(folder),
            fix="Name another --output-dir, or replace them: --overwrite.",
        )
    if not is_same:
        (folder / "results.json").unlink(missing_ok=True)
        (folder / UNFINISHED).unlink(missing_ok=True)
        return []
    for name, preferences in (data or {}).items():
        if name in summary.get("suites", []):
            _check_data(folder / name, preferences, overwrite=overwrite)
    if is_finished:
        (folder / "results.json").replace(folder / UNFINISHED)
    return [name for name in summary.get("suites", []) if (folder / name / "results.json").is_file()]


def _check_data(folder: Path, preferences: Preferences, *, overwrite: bool) -> None:
    """Refuse to replace a set by one that is called alike and was read elsewhere; say so where its data changed."""
    stored = (_read_json(folder / "results.json") or {}).get("data", {})
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


def folder_names(paths: Sequence[str]) -> list[str]:
    """A short name for each of some paths or ids, all different: the last part, with more where two are alike.

    >>> folder_names(["a/test.jsonl", "b/test.jsonl", "org/model", "http://host:8000"])
    ['a-test', 'b-test', 'model', 'host-8000']
    """
    parts = [_parts(path) for path in paths]
    names: list[str] = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        name = "-".join(own[-length:])
        number = 2
        while name in names:
            name, number = f"{'-'.join(own[-length:])}-{number}", number + 1
        names.append(name)
    return names


def _parts(path: str) -> list[str]:
    """The parts of a path or URL without what stands for its format, free of what no folder's name should hold."""
    path = path.partition("://")[2] or path
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    if parts:
        stem = parts[-1]
        for suffix in (".gz", ".zst", ".jsonl", ".json", ".parquet", ".csv", ".arrow"):
            stem = stem.removesuffix(suffix)
        parts[-1] = stem or parts[-1]
    clean = ["".join(c if c.isalnum() or c in "._-" else "-" for c in part).strip("-") for part in parts]
    return [part for part in clean if part] or ["data"]


def _find(folder: Path) -> Iterator[Path]:
    summary = _read_json(folder / "results.json")
    if summary is not None and summary.get("schema") in (RUN_SCHEMA, SET_SCHEMA):
        yield folder
        if summary["schema"] == SET_SCHEMA:
            return
    own = {*summary.get("suites", []), REWARDS_FOLDER} if summary is not None else set()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink() and path.name not in own:
                yield from _find(path)


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no such file.

    Raises:
        PlauditError: It is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        raise PlauditError(
            f"cannot be read ({error})", where=str(path), fix="Run plaudit eval again."
        ) from error
    return value if isinstance(value, dict) else {}


def _check_version(result: Mapping[str, Any], known: int, folder: Path) -> None:
    found = result.get("schema_version")
    if found != known:
        raise PlauditError(
            f"results of schema version {found}; this plaudit reads version {known}",
            where=str(folder / "results.json"),
            fix="Run plaudit eval again, or read it with the plaudit that wrote it.",
        )
