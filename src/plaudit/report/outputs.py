"""The output folders of `plaudit eval` that a report is made from, each model with a name of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError
from plaudit.evaluation.folder import Evaluation, StoredSuite, find_evaluations, read_evaluation
from plaudit.evaluation.names import folder_names

__all__ = ["ROW_COLUMNS", "TEXT_COLUMNS", "ModelOutput", "read_outputs", "stored_columns", "without_repeats"]

ROW_COLUMNS = (
    "key",
    "id",
    "source",
    "subset",
    "is_conversational",
    "is_tie",
    "num_characters_better",
    "num_characters_worse",
)
"""The stored columns that show a comparison, rewards and texts apart."""

TEXT_COLUMNS = ("prompt", "text_better", "text_worse")
"""Its texts: null where they were not stored. Whole they may be larger than memory."""


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


def without_repeats(models: Sequence[ModelOutput]) -> tuple[list[ModelOutput], list[ModelOutput]]:
    """Those that hold results which no other has, and the others: the same model on the same data by the same rule.

    A model is the same where its fingerprint is; those without one are all kept.
    """
    held = [_held(model) for model in models]
    is_repeat = [
        any(own < other or (own == other and j < i) for j, other in enumerate(held)) if own else False
        for i, own in enumerate(held)
    ]
    kept = [model for model, repeats in zip(models, is_repeat, strict=True) if not repeats]
    names = folder_names([model.evaluation.model for model in kept])
    return (
        [replace(model, name=name) for model, name in zip(kept, names, strict=True)],
        [model for model, repeats in zip(models, is_repeat, strict=True) if repeats],
    )


def _held(model: ModelOutput) -> set[tuple[Any, ...]]:
    fingerprint = model.evaluation.summary.get("model_fingerprint")
    results = {name: suite.result for name, suite in model.suites.items()} if fingerprint else {}
    return {
        (
            fingerprint,
            name,
            (result.get("data") or {}).get("fingerprint"),
            result["metrics"]["ties"],
            result["metrics"]["num_comparisons"],
        )
        for name, result in results.items()
    }


def stored_columns(suite: StoredSuite, *names: str) -> list[list[Any]]:
    """Some columns of all stored comparisons; nothing else is read."""
    table = suite.table(*names)
    return [table[name].to_pylist() for name in names]


def _find(folder: Path) -> list[Path]:
    found = find_evaluations(folder)
    if not found:
        raise PlauditError(
            "no results of an evaluation" if folder.is_dir() else "there is no such folder",
            where=str(folder),
            fix="Give what was the --output-dir of `plaudit eval`.",
        )
    return found
