"""Which groups are worth keeping although nothing in them is compared: ratings and attributes teach too."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from plaudit.errors import unknown_choice
from plaudit.tokens.group import TokenGroup

__all__ = ["KeepRows", "check_keep", "is_kept"]

KeepRows: TypeAlias = bool | str
"""Which groups are kept although nothing in them is compared, as long as one completion is left. False: those
with a known attribute, since attributes are there only where somebody asked for them. ``rated``: those with a
known rating or attribute. True: all."""


def check_keep(keep: KeepRows) -> None:
    """Whether the choice is one.

    Raises:
        PlauditError: It is not.
    """
    if not isinstance(keep, bool) and keep != "rated":
        raise unknown_choice("keep_rows_without_comparisons", keep, ("False", "'rated'", "True"))


def is_kept(group: TokenGroup, fits: np.ndarray, keep: KeepRows) -> bool:
    """Whether a group in which nothing is compared is kept.

    Args:
        group: Before any completion is dropped.
        fits: bool [K]: the completions that are left; what is known of others does not count.
        keep: The choice.
    """
    known = [group.attributes, group.ratings if keep else None]
    return keep is True or any(
        values is not None and not bool(np.isnan(values[fits]).all()) for values in known
    )
