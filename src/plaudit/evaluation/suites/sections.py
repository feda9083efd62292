"""Sections: weighted means over subsets, and what to say where data lack some of them.

A section's weights are the benchmark's table, not the counts of the data at hand. A subset without items is left
out and the others' weights are scaled up, which is never done in silence: every score that lacks something says
what in its note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plaudit.evaluation.suites.means import Cells

__all__ = ["Section", "lacking", "mean_over_sections", "missing_sections"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A named weighted mean over cells."""

    name: str
    """As the leaderboard calls it."""
    weights: Mapping[str, float]
    """Of each cell, in any unit."""

    def present(self, cells: Cells) -> dict[str, float]:
        """The weights of the cells that have items, adding up to 1; empty where none has."""
        found = {name: weight for name, weight in self.weights.items() if cells.num_items(name)}
        total = sum(found.values())
        return {name: weight / total for name, weight in found.items()}


def mean_over_sections(
    sections: Sequence[Section], cells: Cells, section_weights: Sequence[float] | None = None
) -> dict[str, float]:
    """The weights of cells in the mean over the sections that have items; a plain mean where no weights are given."""
    given = [1.0] * len(sections) if section_weights is None else list(section_weights)
    present = [(weight, section.present(cells)) for weight, section in zip(given, sections, strict=True)]
    total = sum(weight for weight, found in present if found)
    combined: dict[str, float] = {}
    for weight, found in present:
        for name, share in found.items():
            combined[name] = combined.get(name, 0.0) + weight / total * share
    return combined


def lacking(cells: Cells, counts: Mapping[str, int]) -> str | None:
    """What the data lack of some subsets, None where they lack nothing.

    >>> cells = Cells()
    >>> cells.add("easy", [1.0], [0])
    >>> lacking(cells, {"easy": 100, "hard": 95})
    'without hard; 1 of 100 of easy'
    """
    absent = [name for name in counts if not cells.num_items(name)]
    partial = [
        f"{cells.num_items(name):,} of {count:,} of {name}"
        for name, count in counts.items()
        if 0 < cells.num_items(name) < count
    ]
    odd = [
        f"{cells.num_items(name):,} of {name}, which has {count:,}"
        for name, count in counts.items()
        if cells.num_items(name) > count
    ]
    texts = ([f"without {', '.join(absent)}"] if absent else []) + partial + odd
    return "; ".join(texts) or None


def missing_sections(sections: Sequence[Section], cells: Cells) -> str | None:
    """Which sections have no items at all, None where all have some."""
    absent = [section.name for section in sections if not section.present(cells)]
    if not absent:
        return None
    return f"over {len(sections) - len(absent)} of {len(sections)} sections: without {', '.join(absent)}"
