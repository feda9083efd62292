"""Comparisons between completions of the same ids: training drops them, a benchmark counts them as ties.

Tokenising for training merges completions with the same ids and drops the comparisons between them, since they teach
nothing. Here they come back, so that a statistic has the same n whether rewards come from a model, a server or a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from plaudit.preferences import Preferences
from plaudit.preferences.group import PreferenceGroup
from plaudit.tokens import LengthLimits, Renderer, TokenTable
from plaudit.tokens.group import TokenGroup
from plaudit.tokens.limits import limit_group
from plaudit.tokens.rendered import render_groups

__all__ = ["groups_with_equal_ids"]


def groups_with_equal_ids(
    tokens: TokenTable, preferences: Preferences, renderer: Renderer, limits: LengthLimits
) -> Iterator[tuple[TokenGroup, PreferenceGroup | None]]:
    """The token groups in order, with the comparisons between equal ids that tokenising has dropped.

    What is too long stays away. Only groups that lack a comparison are rendered again.

    Args:
        tokens: What `tokenize_preferences` has made of the data.
        preferences: The data.
        renderer: What made the tokens.
        limits: The limits they were made with.
    """
    if not tokens.report.num_comparisons_identical:
        yield from ((group, None) for group in tokens)
        return
    group_of = {group.row: group for group in tokens}
    for row, group in enumerate(preferences):
        found = group_of.get(row)
        if len(group.comparisons) > (0 if found is None else len(found.better)):
            found = _whole_group(render_groups(renderer, [group], [row])[0], limits, renderer) or found
        if found is not None:
            yield found, group


def _whole_group(whole: TokenGroup, limits: LengthLimits, renderer: Renderer) -> TokenGroup | None:
    """All comparisons between completions that fit, each with its own place; None where there is none.

    Args:
        whole: The group with nothing cut or merged.
        limits: What fits.
        renderer: Names the ids that stay in front when a prompt is cut.
    """
    limited = limit_group(
        whole, limits, leading_ids=renderer.leading_ids, keep_without_comparisons=True
    ).group
    if limited is None:
        return None
    kept = limited.completion_index if limited.completion_index is not None else range(len(limited.sequences))
    cut_of = {whole.sequences[k].tobytes(): ids for k, ids in zip(kept, limited.sequences, strict=True)}
    places = np.array([k for k, ids in enumerate(whole.sequences) if ids.tobytes() in cut_of], dtype=np.int32)
    new_index = np.full(len(whole.sequences), -1, dtype=np.int32)
    new_index[places] = np.arange(len(places), dtype=np.int32)
    compared = np.flatnonzero((new_index[whole.better] >= 0) & (new_index[whole.worse] >= 0)).astype(np.int32)
    if not len(compared):
        return None
    return replace(
        limited,
        sequences=tuple(cut_of[whole.sequences[k].tobytes()] for k in places),
        better=new_index[whole.better[compared]],
        worse=new_index[whole.worse[compared]],
        margin=whole.margin[compared],
        weight=whole.weight[compared],
        is_tie=whole.is_tie[compared],
        ratings=None,
        attributes=None,
        completion_index=places,
        comparison_index=compared,
    )
