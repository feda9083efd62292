"""Preference groups as an Arrow table: a million groups sit in a memory-mapped file, not in Python objects.

A prompt, a completion and a tool schema are stored as JSON text: messages may carry any fields, which no one
Arrow schema holds. Comparisons and ratings are flat lists, so that counting and sampling decode no text. The names of
rated attributes are the same for all groups, and stand in the file's schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from plaudit.preferences.group import Comparison, PreferenceGroup

__all__ = ["SCHEMA", "attribute_names_of", "group_to_row", "row_to_group", "with_attribute_names"]

_NAMES_KEY = b"plaudit.attribute_names"

SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.large_string(), nullable=False),  # JSON: a string or a list of messages
        pa.field("completions", pa.large_list(pa.large_string()), nullable=False),  # JSON, each
        pa.field("better", pa.list_(pa.int32()), nullable=False),
        pa.field("worse", pa.list_(pa.int32()), nullable=False),
        pa.field("margin", pa.list_(pa.float64()), nullable=False),
        pa.field("weight", pa.list_(pa.float64()), nullable=False),
        pa.field("is_tie", pa.list_(pa.bool_()), nullable=False),
        pa.field("ratings", pa.list_(pa.float64())),
        pa.field("attributes", pa.list_(pa.list_(pa.float64()))),  # K lists of A numbers
        pa.field("tools", pa.large_string()),  # JSON: a list of schemas
        pa.field("chat_template_kwargs", pa.large_string()),  # JSON: an object
        pa.field("subset", pa.large_string()),
        pa.field("id", pa.large_string()),
        pa.field("source", pa.large_string(), nullable=False),
    ]
)
"""One row per preference group; the five comparison columns have one entry per comparison."""


def group_to_row(group: PreferenceGroup) -> dict[str, Any]:
    """A group as a row of `SCHEMA`."""
    return {
        "prompt": _dump(group.prompt),
        "completions": [_dump(completion) for completion in group.completions],
        "better": [c.better for c in group.comparisons],
        "worse": [c.worse for c in group.comparisons],
        "margin": [c.margin for c in group.comparisons],
        "weight": [c.weight for c in group.comparisons],
        "is_tie": [c.is_tie for c in group.comparisons],
        "ratings": None if group.ratings is None else list(group.ratings),
        "attributes": None if group.attributes is None else [list(values) for values in group.attributes],
        "tools": None if group.tools is None else _dump(group.tools),
        "chat_template_kwargs": _dump(group.chat_template_kwargs) if group.chat_template_kwargs else None,
        "subset": group.subset,
        "id": group.id,
        "source": group.source,
    }


def row_to_group(row: Mapping[str, Any]) -> PreferenceGroup:
    """The inverse of `group_to_row`."""
    columns = zip(row["better"], row["worse"], row["margin"], row["weight"], row["is_tie"], strict=True)
    return PreferenceGroup(
        prompt=_load(row["prompt"]),
        completions=tuple(_load(completion) for completion in row["completions"]),
        comparisons=tuple(
            Comparison(better=better, worse=worse, margin=margin, weight=weight, is_tie=is_tie)
            for better, worse, margin, weight, is_tie in columns
        ),
        ratings=None if row["ratings"] is None else tuple(row["ratings"]),
        attributes=None if row["attributes"] is None else tuple(map(tuple, row["attributes"])),
        tools=None if row["tools"] is None else tuple(json.loads(row["tools"])),
        chat_template_kwargs=json.loads(row["chat_template_kwargs"] or "{}"),
        subset=row["subset"],
        id=row["id"],
        source=row["source"],
    )


def with_attribute_names(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The schema of a file whose groups carry these attributes; as it is where there are none."""
    return schema.with_metadata({_NAMES_KEY: json.dumps(list(names)).encode()}) if names else schema


def attribute_names_of(dataset: Dataset) -> tuple[str, ...]:
    """The names in the schema of the data set's file; none for a data set in memory.

    `datasets` keeps no metadata of others when it opens a file, so that the file itself is asked.
    """
    path = Path(dataset.cache_files[0]["filename"]) if dataset.cache_files else None
    if path is None or not path.is_file():
        return ()
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        names = (reader.schema.metadata or {}).get(_NAMES_KEY)
    return () if names is None else tuple(json.loads(names))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _load(text: str) -> Any:
    value = json.loads(text)
    return tuple(value) if isinstance(value, list) else value
