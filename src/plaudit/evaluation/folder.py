"""The folder of an evaluation: how it is laid out, and read again. `plaudit.evaluation.output_folder` writes it.

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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plaudit.errors import PlauditError
from plaudit.evaluation.result import RESULTS_SCHEMA, RESULTS_SCHEMA_VERSION
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.storage import read_rows, reading_rows
from plaudit.evaluation.suites import SuiteScores

__all__ = [
    "REWARDS_FOLDER",
    "RUN_SCHEMA",
    "RUN_SCHEMA_VERSION",
    "UNFINISHED",
    "Evaluation",
    "StoredSuite",
    "find_evaluations",
    "read_evaluation",
    "read_json",
]

RUN_SCHEMA_VERSION = 2
"""Of the run's ``results.json``; goes up when a key changes its meaning or goes away."""

REWARDS_FOLDER = "rewards"
UNFINISHED = "results.json.unfinished"
"""The summary of what stood in the folder before, from the beginning of a run to its end."""

RUN_SCHEMA = "plaudit.evaluation-run"

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

    def table(self, *columns: str) -> pa.Table:
        """The rows as they are stored, in the same order; these columns of `storage.ROWS_SCHEMA`, or all.

        Raises:
            PlauditError: The file is gone, or is not whole.
        """
        with reading_rows(self.folder / "rows.parquet"):
            return pq.read_table(self.folder / "rows.parquet", columns=list(columns) or None)

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
    summary = read_json(folder / "results.json")
    if summary is None:
        inner = [path.name for path in find_evaluations(folder)]
        fix = (
            f"Name one of its folders: {', '.join(inner[:5])}."
            if inner
            else "Run plaudit eval with this --output-dir, to its end."
        )
        raise PlauditError("there is no results.json, so no whole evaluation", where=str(folder), fix=fix)
    if summary.get("schema") == RESULTS_SCHEMA:
        _check_version(summary, RESULTS_SCHEMA_VERSION, folder)
        _check_keys(summary, ("name", "model"), folder)
        suites = {summary["name"]: StoredSuite(folder, summary)}
        return Evaluation(folder=folder, model=summary["model"], summary=summary, suites=suites)
    if summary.get("schema") != RUN_SCHEMA:
        raise PlauditError(
            "results.json is not of an evaluation", where=str(folder), fix="Name an evaluation's folder."
        )
    _check_version(summary, RUN_SCHEMA_VERSION, folder)
    _check_keys(summary, ("suites", "model"), folder)
    suites = {}
    for name in summary["suites"]:
        result = read_json(folder / name / "results.json")
        if result is None:
            raise PlauditError(
                f"the results of {name!r} are gone", where=str(folder / name), fix="Run plaudit eval again."
            )
        _check_version(result, RESULTS_SCHEMA_VERSION, folder / name)
        suites[name] = StoredSuite(folder / name, result)
    return Evaluation(folder=folder, model=summary["model"], summary=summary, suites=suites)


def find_evaluations(folder: str | Path) -> list[Path]:
    """The folders of evaluations at or below a folder, in order of their names; an evaluation's sets are not.

    A run that has not come to its end is left out, and a warning says so.
    """
    return list(_find(Path(folder)))


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, empty where it holds something else; None where there is no such file.

    Raises:
        PlauditError: It is no JSON, or cannot be read.
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


def _find(folder: Path) -> Iterator[Path]:
    summary = read_json(folder / "results.json")
    if summary is not None and summary.get("schema") in (RUN_SCHEMA, RESULTS_SCHEMA):
        yield folder
        if summary["schema"] == RESULTS_SCHEMA:
            return
    is_unfinished = summary is None and (folder / UNFINISHED).is_file()
    if is_unfinished:
        log.warning(
            "%s: a run there has not come to its end and is left out; give its plaudit eval again", folder
        )
    own = {*(summary or {}).get("suites", []), REWARDS_FOLDER}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink() and path.name not in own:
                if is_unfinished and _is_set(path):
                    continue  # of the run that has not come to its end
                yield from _find(path)


def _is_set(folder: Path) -> bool:
    return (read_json(folder / "results.json") or {}).get("schema") == RESULTS_SCHEMA


def _check_keys(summary: Mapping[str, Any], keys: Sequence[str], folder: Path) -> None:
    missing = [key for key in keys if key not in summary]
    if missing:
        raise PlauditError(
            f"it has no {', '.join(missing)}",
            where=str(folder / "results.json"),
            fix="Run plaudit eval again.",
        )


def _check_version(result: Mapping[str, Any], known: int, folder: Path) -> None:
    found = result.get("schema_version")
    if found != known:
        raise PlauditError(
            f"results of schema version {found}; this plaudit reads version {known}",
            where=str(folder / "results.json"),
            fix="Run plaudit eval again, or read it with the plaudit that wrote it.",
        )
