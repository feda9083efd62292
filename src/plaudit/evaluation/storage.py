"""Rows on disk: one Parquet row per comparison, from which every statistic can be computed again.

Guarantees: a file is complete or absent (written beside its place, then renamed); writing holds at most
`MAX_CHUNK_CHARACTERS` of text; `read_rows` of what `write_rows` wrote gives the same statistics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plaudit.errors import PlauditError
from plaudit.evaluation.plan import PreferenceRows
from plaudit.evaluation.rows import ComparisonRows
from plaudit.preferences.group import Completion, PreferenceGroup, Prompt

__all__ = [
    "MAX_CHUNK_CHARACTERS",
    "ROWS_SCHEMA",
    "ROWS_SCHEMA_VERSION",
    "read_rows",
    "reading_rows",
    "write_rows",
]

ROWS_SCHEMA_VERSION = "1"
"""Goes up when a column changes its meaning or goes away; new columns leave it as it is."""

MAX_CHUNK_CHARACTERS = 32_000_000
"""Text gathered before it is written, over all rows of a chunk (assumed: about 100 MB of memory)."""

MAX_CHUNK_ROWS = 16_384
"""Rows gathered before they are written (assumed)."""

ROWS_SCHEMA = pa.schema(
    [
        pa.field("group", pa.int64(), nullable=False),  # row of the preference table
        pa.field("prompt_index", pa.int64(), nullable=False),  # equal numbers: the same prompt
        pa.field("comparison", pa.int32(), nullable=False),  # index among the group's comparisons
        pa.field("key", pa.string(), nullable=False),  # hash of the texts: the same comparison in any run
        pa.field("source", pa.large_string(), nullable=False),  # file:line or dataset[split]:row
        pa.field("subset", pa.large_string()),
        pa.field("id", pa.large_string()),
        pa.field("is_conversational", pa.bool_(), nullable=False),  # texts are JSON lists of messages
        pa.field("prompt", pa.large_string()),  # null without stored texts, as the next two
        pa.field("text_better", pa.large_string()),
        pa.field("text_worse", pa.large_string()),
        pa.field("completion_better", pa.int32(), nullable=False),  # index in the group
        pa.field("completion_worse", pa.int32(), nullable=False),
        pa.field("sequence_better", pa.int64(), nullable=False),  # equal numbers: equal token ids
        pa.field("sequence_worse", pa.int64(), nullable=False),
        pa.field("reward_better", pa.float64(), nullable=False),  # a model's are float32 numbers
        pa.field("reward_worse", pa.float64(), nullable=False),
        pa.field("margin", pa.float64(), nullable=False),  # reward_better - reward_worse
        pa.field("required_margin", pa.float32(), nullable=False),  # the data's
        pa.field("weight", pa.float32(), nullable=False),
        pa.field("is_tie", pa.bool_(), nullable=False),  # the data's
        pa.field("is_correct", pa.bool_()),  # reward_better > reward_worse; null for a tie of the data
        pa.field("num_tokens_better", pa.int64(), nullable=False),  # of the completion
        pa.field("num_tokens_worse", pa.int64(), nullable=False),
        pa.field("num_characters_better", pa.int64(), nullable=False),
        pa.field("num_characters_worse", pa.int64(), nullable=False),
    ],
    metadata={"plaudit.rows.schema_version": ROWS_SCHEMA_VERSION},
)
"""One row per comparison."""


def write_rows(
    path: Path, rows: ComparisonRows, preferences: PreferenceRows, *, store_texts: bool = True
) -> None:
    """Write ``rows`` with the texts, names and places that ``preferences`` holds for them.

    Args:
        path: The Parquet file; replaced when it exists.
        rows: The comparisons, scored.
        preferences: The table that `ComparisonRows.group` points into.
        store_texts: Whether prompt and completions are stored; their hash always is.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with pq.ParquetWriter(partial, ROWS_SCHEMA, compression="zstd") as writer:
            for chunk in _chunks(rows, preferences, store_texts=store_texts):
                writer.write_batch(chunk)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_rows(path: Path) -> ComparisonRows:
    """The inverse of `write_rows`, without the texts. Sequences are numbered as they were.

    Raises:
        PlauditError: The file is gone, is not whole, or is not of this schema version.
    """
    with reading_rows(path):
        found = (pq.read_schema(path).metadata or {}).get(b"plaudit.rows.schema_version", b"none").decode()
    if found != ROWS_SCHEMA_VERSION:
        raise PlauditError(
            f"rows of schema version {found}; this plaudit reads version {ROWS_SCHEMA_VERSION}",
            where=str(path),
            fix="Run `plaudit eval` again.",
        )
    with reading_rows(path):
        table = pq.read_table(path, columns=[*_STORED_AS_THEY_ARE, *_STORED_OTHERWISE])
    column = {name: table[name].to_numpy() for name in table.column_names if name != "subset"}
    subset_names, subset = _encode_subsets(table["subset"])
    return ComparisonRows(
        **{name: column[name] for name in _STORED_AS_THEY_ARE},
        prompt=column["prompt_index"],
        better=column["sequence_better"],
        worse=column["sequence_worse"],
        subset=subset,
        sequence_reward=_per_sequence(column, "reward", np.float64),
        sequence_num_tokens=_per_sequence(column, "num_tokens", np.int64),
        subset_names=subset_names,
    )


@contextmanager
def reading_rows(path: Path) -> Iterator[None]:
    """Read a file of rows.

    Raises:
        PlauditError: It is gone, or is not whole.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        is_gone = isinstance(error, FileNotFoundError)
        raise PlauditError(
            "the file of the rows is gone" if is_gone else f"the file of the rows is not whole ({error})",
            where=str(path),
            fix="Run plaudit eval again: what was scored is not scored again.",
        ) from error


_STORED_AS_THEY_ARE = (
    "group",
    "comparison",
    "completion_better",
    "completion_worse",
    "required_margin",
    "weight",
    "is_tie",
    "num_tokens_better",
    "num_tokens_worse",
    "num_characters_better",
    "num_characters_worse",
)
_STORED_OTHERWISE = (
    "prompt_index",
    "sequence_better",
    "sequence_worse",
    "reward_better",
    "reward_worse",
    "subset",
)


def _chunks(
    rows: ComparisonRows, preferences: PreferenceRows, *, store_texts: bool
) -> Iterator[pa.RecordBatch]:
    """Rows joined with their texts, in batches bounded in rows and in characters."""
    texts: list[dict[str, Any]] = []
    start, num_characters, group, row = 0, 0, None, -1
    for i in range(len(rows)):
        if group is None or row != rows.group[i]:
            row = int(rows.group[i])
            group = preferences[row]
        texts.append(
            _texts(group, int(rows.completion_better[i]), int(rows.completion_worse[i]), store_texts)
        )
        num_characters += sum(len(texts[-1][name] or "") for name in ("prompt", "text_better", "text_worse"))
        if len(texts) == MAX_CHUNK_ROWS or num_characters > MAX_CHUNK_CHARACTERS:
            yield _batch(rows, slice(start, i + 1), texts)
            texts, start, num_characters = [], i + 1, 0
    if texts:
        yield _batch(rows, slice(start, len(rows)), texts)


def _texts(group: PreferenceGroup, better: int, worse: int, store_texts: bool) -> dict[str, Any]:
    """What the preference table knows about one comparison."""
    prompt, chosen, rejected = (
        _text(part) for part in (group.prompt, group.completions[better], group.completions[worse])
    )
    tools = json.dumps(group.tools, ensure_ascii=False)
    whole = json.dumps([prompt, chosen, rejected, tools], ensure_ascii=False)
    return {
        "key": hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
        "source": group.source,
        "subset": group.subset,
        "id": group.id,
        "is_conversational": group.is_conversational,
        "prompt": prompt if store_texts else None,
        "text_better": chosen if store_texts else None,
        "text_worse": rejected if store_texts else None,
    }


def _text(part: Prompt | Completion) -> str:
    return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)


def _batch(rows: ComparisonRows, chunk: slice, texts: list[dict[str, Any]]) -> pa.RecordBatch:
    is_tie = rows.is_tie[chunk]
    columns = {name: getattr(rows, name)[chunk] for name in _STORED_AS_THEY_ARE}
    columns |= {
        "prompt_index": rows.prompt[chunk],
        "sequence_better": rows.better[chunk],
        "sequence_worse": rows.worse[chunk],
        "reward_better": rows.reward_better[chunk],
        "reward_worse": rows.reward_worse[chunk],
        "margin": rows.margin[chunk],
        "is_correct": pa.array(rows.margin[chunk] > 0, mask=is_tie),
    }
    columns |= {name: [entry[name] for entry in texts] for name in texts[0]}
    arrays = [pa.array(columns[field.name], type=field.type) for field in ROWS_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS_SCHEMA)


def _encode_subsets(column: pa.ChunkedArray) -> tuple[tuple[str, ...], np.ndarray]:
    """Names in order of appearance, and each row's index among them, -1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return tuple(encoded.dictionary.to_pylist()), codes


def _per_sequence(column: dict[str, np.ndarray], name: str, dtype: type) -> np.ndarray:
    """One entry per sequence, from the comparisons that name it: every sequence is in one at least."""
    index = np.concatenate([column["sequence_better"], column["sequence_worse"]])
    values = np.empty(int(index.max(initial=-1)) + 1, dtype=dtype)
    values[index] = np.concatenate([column[f"{name}_better"], column[f"{name}_worse"]])
    return values
