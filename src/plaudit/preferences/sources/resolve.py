"""From any source a person can give to the parts to read, and whether they are streamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from plaudit.errors import PlauditError
from plaudit.preferences.sources.hub import load_hub
from plaudit.preferences.sources.item import Part
from plaudit.preferences.sources.locate import (
    Located,
    dataset_part,
    is_local,
    locate_files,
    parse_name,
)
from plaudit.preferences.sources.splits import pick_split
from plaudit.preferences.sources.tabular import read_iterable

__all__ = ["resolve"]


def resolve(
    source: Any, split: str | None, columns: Mapping[str, str], streaming: bool
) -> tuple[Located, bool]:
    """The parts of the source, and whether they are streamed.

    Raises:
        PlauditError: The source is of no kind that can be read, or cannot be found.
    """
    if isinstance(source, str | Path):
        return _locate_name(str(source), split, columns, streaming)
    if isinstance(source, DatasetDict | IterableDatasetDict):
        chosen = pick_split(list(map(str, source)), split, "the data set")
        return _locate_dataset(source[chosen], f"dataset[{chosen}]")
    if isinstance(source, Dataset | IterableDataset):
        name = f"dataset[{source.split}]" if source.split is not None else "dataset"
        return _locate_dataset(source, name)
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise PlauditError(
            f"a source of type {type(source).__name__} cannot be read",
            where="source",
            fix="Give a hub id, a path, a data set or an iterable of records; several sources: read_mixture.",
        )
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | Path) for item in source):
        raise PlauditError(
            f"{len(source)} names were given as one source", where="source", fix="Use read_mixture([...])."
        )
    part = Part(name="records", read=lambda position: read_iterable(source), place="element")
    return Located(parts=(part,)), False


def _locate_name(
    name: str, split: str | None, columns: Mapping[str, str], streaming: bool
) -> tuple[Located, bool]:
    base, config, named_split = parse_name(name)
    if split is not None and named_split is not None and split != named_split:
        raise PlauditError(
            f"two splits are named: {named_split!r} and {split!r}", where=name, fix="Name one of them."
        )
    split = split or named_split
    if is_local(base):
        return locate_files(base, config, split, columns), streaming
    dataset, where = load_hub(base, config, split, streaming=streaming)
    return _locate_dataset(dataset, where)


def _locate_dataset(dataset: Dataset | IterableDataset, name: str) -> tuple[Located, bool]:
    if isinstance(dataset, IterableDataset):
        part = Part(name=name, read=lambda position: read_iterable(dataset), place="line")
        return Located(parts=(part,)), True
    return Located(parts=(dataset_part(dataset, name),)), False
