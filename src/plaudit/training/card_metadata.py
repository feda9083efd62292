"""The front matter of a model card: what the hub reads of a reward model, and its results as ``model-index``.

Only what is true goes in: a base model and data sets that are on the hub, a licence that was given, an accuracy that
was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from plaudit.training.data_record import HubDataset, hub_dataset
from plaudit.training.estimates import EvaluatedSet
from plaudit.training.run_record import RunRecord

__all__ = ["card_metadata", "name_of_source"]

TAGS = ("reward-model", "plaudit", "reward-trainer")

LORA_VARIANTS = ("lora", "dora", "rslora")
"""Adapters that the hub's visitors look for under ``lora``."""


def card_metadata(
    record: RunRecord,
    *,
    name: str,
    evaluations: Sequence[EvaluatedSet] = (),
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    license: str | None = None,
    language: str | Sequence[str] | None = None,
) -> ModelCardData:
    """The hub's metadata of a trained reward model.

    Args:
        record: The run.
        name: The model's name in the results.
        evaluations: Results; one without an accuracy is left out.
        datasets: Hub ids beside those that the record's sources name.
        tags: Beside `TAGS` and the adapter's.
        license: A licence that the hub knows; None leaves it out.
        language: Codes of languages, if known.
    """
    model = record.model
    ids = [found.id for found in map(hub_dataset, _train_sources(record)) if found]
    results = [result for evaluated in evaluations for result in _results(evaluated)]
    more: dict[str, Any] = (
        {"base_model_relation": "adapter" if model.needs_peft else "finetune"} if model.base_is_on_hub else {}
    )
    method = model.adapter.method.lower() if model.adapter else ""
    adapter = ["lora", method] if method in LORA_VARIANTS else [method] if method else []
    return ModelCardData(
        library_name="peft" if model.needs_peft else "transformers",
        pipeline_tag="text-classification",
        base_model=model.base_model if model.base_is_on_hub else None,
        datasets=list(dict.fromkeys([*ids, *datasets])) or None,
        tags=list(dict.fromkeys([*TAGS, *adapter, *tags])),
        license=license,
        language=language if language is None or isinstance(language, str) else list(language),
        metrics=["accuracy"] if results else None,
        model_name=name if results else None,
        eval_results=results or None,
        **more,
    )


def name_of_source(source: str) -> str:
    """A source as one may show it to others: a hub data set in full, of a local path the last part.

    >>> name_of_source("/home/me/data/pairs.jsonl"), name_of_source("org/data[test]")
    ('pairs.jsonl', 'org/data[test]')
    """
    return source if hub_dataset(source) else PurePath(source).name or source


def _train_sources(record: RunRecord) -> Sequence[str]:
    return record.train_data.sources if record.train_data else ()


def _results(evaluated: EvaluatedSet) -> list[EvalResult]:
    """The accuracy, on the hub's data set where there is one; else on a ``custom`` one, as the field does."""
    if math.isnan(evaluated.accuracy.value):
        return []
    found = [hub_dataset(source) for source in evaluated.sources]
    single = found[0] if len(found) == 1 and found[0] else None
    names = [name_of_source(source) for source in evaluated.sources]
    shown = ", ".join(names) or evaluated.name
    if evaluated.name not in ("eval", shown):
        shown = f"{evaluated.name} ({shown})"
    # Results of one data set and configuration are merged: sets of a run are told apart by their names.
    data = single or HubDataset(id="custom", config=None if evaluated.name == "eval" else evaluated.name)
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Reward Modeling",
            dataset_type=data.id,
            dataset_name=shown,
            dataset_config=data.config,
            dataset_split=data.split,
            metric_type="accuracy",
            metric_name="Accuracy",
            metric_value=round(evaluated.accuracy.value, 4),
        )
    ]
