"""Pairs that are token ids already: TRL's `chosen_ids` and `rejected_ids`, with an optional `margin`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.errors import PlauditError
from plaudit.tokens.group import TokenGroup
from plaudit.tokens.limits import LengthLimits
from plaudit.tokens.rendered import num_shared_tokens
from plaudit.tokens.table import TokenTable

__all__ = ["is_pretokenized", "table_of_token_ids"]

PAIR_COLUMNS = (("chosen_ids", "rejected_ids"), ("chosen_input_ids", "rejected_input_ids"))
"""TRL's names, today's and those before its 1.0."""


def is_pretokenized(column_names: Iterable[str] | None) -> bool:
    """Whether columns are those of a pretokenised data set.

    >>> is_pretokenized(["chosen_ids", "rejected_ids"])
    True
    """
    names = set(column_names or ())
    return any(names.issuperset(pair) for pair in PAIR_COLUMNS)


def table_of_token_ids(
    rows: Iterable[Mapping[str, Any]],
    limits: LengthLimits | None = None,
    *,
    leading_ids: Iterable[int] = (),
    cache_dir: str | Path | None = None,
) -> TokenTable:
    """A token table of pretokenised pairs.

    Where the prompt ends is not known; what the two sequences share counts as prompt.

    Args:
        rows: A `datasets.Dataset` or any iterable with `chosen_ids` and `rejected_ids`, lists of token ids.
        limits: The length limits; none when None.
        leading_ids: Ids that stay in front when the prompt is cut (the beginning-of-sequence token).
        cache_dir: Folder of the token file; a temporary one when None.

    Raises:
        PlauditError: A row without the two, or with an empty one.
    """
    return TokenTable.from_groups(
        (_group(row, index) for index, row in enumerate(rows)),
        limits=limits,
        leading_ids=leading_ids,
        keep_rows_without_comparisons=False,
        cache_dir=cache_dir,
    )


def _group(row: Mapping[str, Any], index: int) -> TokenGroup:
    names = next((pair for pair in PAIR_COLUMNS if pair[0] in row and pair[1] in row), None)
    if names is None:
        raise PlauditError(
            f"no chosen_ids and rejected_ids among {', '.join(row)}",
            where=f"row {index}",
            fix="Give both as lists of token ids.",
        )
    chosen, rejected = (np.asarray(row[name], dtype=np.int32) for name in names)
    if len(chosen) == 0 or len(rejected) == 0:
        raise PlauditError("chosen_ids or rejected_ids is empty", where=f"row {index}", fix="Remove the row.")
    return TokenGroup(
        sequences=(chosen, rejected),
        # The last token of a sequence never counts as prompt: it carries the reward.
        num_prompt_tokens=min(num_shared_tokens(chosen, rejected), len(chosen) - 1, len(rejected) - 1),
        better=np.array([0], dtype=np.int32),
        worse=np.array([1], dtype=np.int32),
        margin=np.array([row.get("margin") or 0.0], dtype=np.float32),
        weight=np.ones(1, dtype=np.float32),
        is_tie=np.zeros(1, dtype=np.bool_),
        row=index,
    )
