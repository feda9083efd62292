"""Token groups as Arrow columns: int32 ids in a memory-mapped file, read without lists of Python ints.

The beginning that all K sequences of a group share is stored once, then the K remainders end to end. A
dropped group keeps its row, without ids and with the reason, so that the report is a sum over the columns
and every loss can be traced to a row of the preference table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from plaudit.tokens.group import TokenGroup
from plaudit.tokens.limits import LimitedGroup
from plaudit.tokens.rendered import num_shared_tokens

__all__ = ["COUNT_COLUMNS", "TOKEN_SCHEMA", "TokenRows", "to_arrow"]

COUNT_COLUMNS = (
    "num_completions_in",
    "num_completions_too_long",
    "num_completions_identical",
    "num_comparisons_in",
    "num_comparisons_too_long",
    "num_comparisons_identical",
    "num_longest_tokens",
    "num_prompt_tokens_in",
)
"""What `LimitedGroup` counts, a column each."""

TOKEN_SCHEMA = pa.schema(
    [
        pa.field("shared_ids", pa.list_(pa.int32())),  # the beginning common to the K sequences
        pa.field("tail_ids", pa.list_(pa.int32())),  # the K remainders, end to end
        pa.field("tail_lengths", pa.list_(pa.int32())),  # K numbers
        pa.field("num_prompt_tokens", pa.int32()),
        pa.field("better", pa.list_(pa.int32())),
        pa.field("worse", pa.list_(pa.int32())),
        pa.field("margin", pa.list_(pa.float32())),
        pa.field("weight", pa.list_(pa.float32())),
        pa.field("is_tie", pa.list_(pa.bool_())),
        pa.field("ratings", pa.list_(pa.float32())),  # null where the source has none
        pa.field("attributes", pa.list_(pa.float32())),  # K * A numbers, completion by completion; or null
        pa.field("row", pa.int64()),
        pa.field("completion_index", pa.list_(pa.int32())),  # null: all, in order
        pa.field("comparison_index", pa.list_(pa.int32())),  # null: all, in order
        pa.field("num_truncated_tokens", pa.int32()),
        pa.field("num_tokens", pa.int32()),  # of the K sequences together
        pa.field("max_sequence_tokens", pa.int32()),  # of the longest sequence
        pa.field("drop_reason", pa.string()),  # null: the group is there
        *[pa.field(name, pa.int32()) for name in COUNT_COLUMNS],
    ]
)
"""One row per preference group, dropped ones included."""

EMPTY = TokenGroup(
    sequences=(),
    num_prompt_tokens=0,
    better=np.empty(0, np.int32),
    worse=np.empty(0, np.int32),
    margin=np.empty(0, np.float32),
    weight=np.empty(0, np.float32),
    is_tie=np.empty(0, np.bool_),
)
"""What the row of a dropped group holds."""


def to_arrow(rows: Sequence[tuple[int, LimitedGroup]]) -> pa.Table:
    """Rows of `TOKEN_SCHEMA` from (row of the preference table, outcome) pairs."""
    groups = [EMPTY if limited.group is None else limited.group for _, limited in rows]
    shared = [_num_common(group.sequences) for group in groups]
    lengths = [np.array([len(ids) for ids in group.sequences], dtype=np.int32) for group in groups]
    columns: dict[str, pa.Array] = {
        "shared_ids": _lists(
            [g.sequences[0][:n] if g.sequences else g.better for g, n in zip(groups, shared, strict=True)]
        ),
        "tail_ids": _lists([_tails(group, n) for group, n in zip(groups, shared, strict=True)]),
        "tail_lengths": _lists([of - n for of, n in zip(lengths, shared, strict=True)]),
        "num_prompt_tokens": _numbers(group.num_prompt_tokens for group in groups),
        "better": _lists([group.better for group in groups]),
        "worse": _lists([group.worse for group in groups]),
        "margin": _lists([group.margin for group in groups]),
        "weight": _lists([group.weight for group in groups]),
        "is_tie": _lists([group.is_tie for group in groups]),
        "ratings": pa.array([group.ratings for group in groups], type=pa.list_(pa.float32())),
        "attributes": pa.array(
            [None if g.attributes is None else g.attributes.ravel() for g in groups],
            type=pa.list_(pa.float32()),
        ),
        "completion_index": pa.array([g.completion_index for g in groups], type=pa.list_(pa.int32())),
        "comparison_index": pa.array([g.comparison_index for g in groups], type=pa.list_(pa.int32())),
        "row": pa.array([row for row, _ in rows], type=pa.int64()),
        "num_truncated_tokens": _numbers(group.num_truncated_tokens for group in groups),
        "num_tokens": _numbers(int(of.sum()) for of in lengths),
        "max_sequence_tokens": _numbers(int(of.max(initial=0)) for of in lengths),
        "drop_reason": pa.array([limited.drop_reason for _, limited in rows], type=pa.string()),
    }
    for name in COUNT_COLUMNS:
        columns[name] = _numbers(getattr(limited, name) for _, limited in rows)
    return pa.table(columns, schema=TOKEN_SCHEMA)


class TokenRows:
    """Random access to the rows of a table of `TOKEN_SCHEMA`, as numpy views of the Arrow buffers.

    Args:
        table: A table with the columns of `TOKEN_SCHEMA`, memory-mapped or not.
    """

    def __init__(self, table: pa.Table) -> None:
        self._batches = table.select(TOKEN_SCHEMA.names).to_batches()
        self._starts = np.cumsum([0] + [batch.num_rows for batch in self._batches])
        self._readers: dict[int, dict[str, Callable[[int], Any]]] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def group(self, index: int) -> TokenGroup:
        """The token group of one row; its sequences are copies, so that nothing keeps the file open."""
        batch_index = int(np.searchsorted(self._starts, index, side="right")) - 1
        read = self._readers.get(batch_index)
        if read is None:
            read = self._readers[batch_index] = _readers(self._batches[batch_index])
        i = index - int(self._starts[batch_index])
        shared, tails = read["shared_ids"](i), read["tail_ids"](i)
        ends = np.cumsum(read["tail_lengths"](i))
        starts = ends - read["tail_lengths"](i)
        return TokenGroup(
            sequences=tuple(np.concatenate([shared, tails[a:b]]) for a, b in zip(starts, ends, strict=True)),
            num_prompt_tokens=int(read["num_prompt_tokens"](i)),
            better=read["better"](i).copy(),
            worse=read["worse"](i).copy(),
            margin=read["margin"](i).copy(),
            weight=read["weight"](i).copy(),
            is_tie=read["is_tie"](i).copy(),
            ratings=_copy(read["ratings"](i)),
            attributes=_rows(read["attributes"](i), len(ends)),
            completion_index=_copy(read["completion_index"](i)),
            comparison_index=_copy(read["comparison_index"](i)),
            row=int(read["row"](i)),
            num_truncated_tokens=int(read["num_truncated_tokens"](i)),
        )


def _copy(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else values.copy()


def _rows(values: np.ndarray | None, num_rows: int) -> np.ndarray | None:
    return None if values is None else values.reshape(num_rows, -1).copy()


def _num_common(sequences: Sequence[np.ndarray]) -> int:
    """Length of the beginning that all sequences share."""
    if not sequences:
        return 0
    return min(num_shared_tokens(sequences[0], ids) for ids in sequences)


def _tails(group: TokenGroup, num_shared: int) -> np.ndarray:
    if not group.sequences:
        return np.empty(0, np.int32)
    return np.concatenate([ids[num_shared:] for ids in group.sequences])


def _lists(rows: Sequence[np.ndarray]) -> pa.ListArray:
    """Numpy rows as one list array; the values are copied once, as a block."""
    offsets = np.cumsum([0] + [len(row) for row in rows], dtype=np.int32)
    values = np.concatenate(rows) if rows else np.empty(0, np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _numbers(values: Iterable[int]) -> pa.Array:
    return pa.array(list(values), type=pa.int32())


def _readers(batch: pa.RecordBatch) -> dict[str, Callable[[int], Any]]:
    """For each column of a record batch, a function from row to value, over views made once."""
    return {
        name: _list_reader(batch.column(name))
        if pa.types.is_list(field.type)
        else _number_reader(batch.column(name))
        for name, field in zip(TOKEN_SCHEMA.names, TOKEN_SCHEMA, strict=True)
        if not pa.types.is_string(field.type)
    }


def _list_reader(column: pa.ListArray) -> Callable[[int], np.ndarray | None]:
    offsets = column.offsets.to_numpy()
    # Booleans are stored as bits and cannot be viewed; there are few of them.
    values = column.values.to_numpy(zero_copy_only=False)
    nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None

    def read(index: int) -> np.ndarray | None:
        if nulls is not None and nulls[index]:
            return None
        return values[offsets[index] : offsets[index + 1]]

    return read


def _number_reader(column: pa.Array) -> Callable[[int], Any]:
    return column.to_numpy().__getitem__
