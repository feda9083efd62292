"""Data sets by their hub id, from the network or the local cache, whole or streamed."""

from __future__ import annotations

from typing import Any

import datasets
from datasets import Dataset, IterableDataset

from plaudit.errors import PlauditError
from plaudit.preferences.sources.splits import pick_split

__all__ = ["load_hub"]


def load_hub(
    name: str, config: str | None, split: str | None, *, streaming: bool
) -> tuple[Dataset | IterableDataset, str]:
    """The data set and its name with config and split, such as ``org/data:helpful[train]``.

    Raises:
        PlauditError: It cannot be loaded, or the split is not there.
    """
    where = f"{name}:{config}" if config else name
    try:
        loaded: Any = datasets.load_dataset(name, config, streaming=streaming)
    except Exception as error:  # the library raises a dozen kinds; each means that there is no data
        lines = str(error).splitlines() or [type(error).__name__]
        raise PlauditError(
            f"neither a local path nor a data set that can be loaded from the hub ({lines[0]})",
            where=where,
            fix="Check the name, the network and HF_TOKEN; a local file is named with its path.",
        ) from error
    chosen = pick_split(list(map(str, loaded)), split, where)
    return loaded[chosen], f"{where}[{chosen}]"
