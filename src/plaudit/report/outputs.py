"""The output folders of `plaudit eval` that a report is made from, each model with a name of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from plaudit.errors import PlauditError
from plaudit.evaluation.folder import Evaluation, StoredSuite, find_evaluations, read_evaluation
from plaudit.evaluation.names import folder_names

__all__ = ["ROW_COLUMNS", "ModelOutput", "read_outputs", "stored_rows"]

ROW_COLUMNS = (
    "key",
    "id",
    "source",
    "subset",
    "is_conversational",
    "prompt",
    "text_better",
    "text_worse",
    "reward_better",
    "reward_worse",
    "is_tie",
    "num_characters_better",
    "num_characters_worse",
)
"""The stored columns that show a comparison."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOutput:
    """One model on all that it was evaluated on."""

    name: str
    """What to call it; no two of a report are called the same."""
    evaluation: Evaluation
    """Its results and rows."""

    @property
    def suites(self) -> dict[str, StoredSuite]:
        """Its suites by name, in their order; data are called by the last part of their path."""
        stored = self.evaluation.suites
        return dict(zip(folder_names(list(stored)), stored.values(), strict=True))


def read_outputs(folders: Iterable[str | Path]) -> list[ModelOutput]:
    """The evaluations at or below some folders, in order.

    Raises:
        PlauditError: A folder holds none, or a file of one cannot be read.
    """
    evaluations = [read_evaluation(found) for folder in folders for found in _find(Path(folder))]
    names = folder_names([evaluation.model for evaluation in evaluations])
    return [
        ModelOutput(name=name, evaluation=evaluation)
        for name, evaluation in zip(names, evaluations, strict=True)
    ]


def stored_rows(suite: StoredSuite) -> pa.Table:
    """`ROW_COLUMNS` of the stored comparisons; the texts are null where they were not stored."""
    return suite.texts().select(list(ROW_COLUMNS))


def _find(folder: Path) -> list[Path]:
    found = find_evaluations(folder)
    if not found:
        raise PlauditError(
            "no results of an evaluation" if folder.is_dir() else "there is no such folder",
            where=str(folder),
            fix="Give what was the --output-dir of `plaudit eval`.",
        )
    return found
