"""The token group: a preference group after rendering, ready for the tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["TokenGroup"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenGroup:
    """K token-id sequences (prompt and completion) and the comparisons between them, by index."""

    sequences: tuple[np.ndarray, ...]
    """K arrays of int32 token ids, each the whole rendering: prompt, completion, end of sequence."""
    num_prompt_tokens: int
    """How many leading tokens are the prompt's, the same for all K. (Sharing looks at ids, not at this.)"""
    better: np.ndarray
    """int32 [num_comparisons]: index of the preferred sequence."""
    worse: np.ndarray
    """int32 [num_comparisons]: index of the other one."""
    margin: np.ndarray
    """float32 [num_comparisons], in units of reward; 0 where nothing is said."""
    weight: np.ndarray
    """float32 [num_comparisons], above 0."""
    is_tie: np.ndarray
    """bool [num_comparisons]."""
    ratings: np.ndarray | None = None
    """float32 [K], NaN where unknown."""
    attributes: np.ndarray | None = None
    """float32 [K, A]: rated attributes, in the order of the table's `attribute_names`; NaN where unknown."""
    row: int = -1
    """Row of the preference table that it came from; -1 when it came from none."""
    num_truncated_tokens: int = 0
    """Tokens cut from the left of the prompt."""
    completion_index: np.ndarray | None = None
    """int32 [K]: which completion of the preference group each sequence is; None when it is all, in order."""
    comparison_index: np.ndarray | None = None
    """int32 [num_comparisons]: the same for comparisons."""
