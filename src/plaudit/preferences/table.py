"""Preference groups as an Arrow table: a million groups sit in a memory-mapped file, not in Python objects.

A prompt, a completion and a tool schema are stored as JSON text: messages may carry any fields, which no one
Arrow schema holds. Comparisons and ratings are flat lists, so that counting and sampling decode no text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from plaudit.preferences.group import Comparison, PreferenceGroup

__all__ = ["SCHEMA", "group_to_row", "row_to_group"]

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
        tools=None if row["tools"] is None else tuple(json.loads(row["tools"])),
        chat_template_kwargs=json.loads(row["chat_template_kwargs"] or "{}"),
        subset=row["subset"],
        id=row["id"],
        source=row["source"],
    )


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _load(text: str) -> Any:
    value = json.loads(text)
    return tuple(value) if isinstance(value, list) else value
