"""Which results of one suite can be ranked against each other, and why the others cannot.

A result is *whole* where its suite names nothing that its data lack and no comparison was lost on the way. Of the
whole ones (of all, where none is) those are comparable that have the same comparisons, the same score and the same
rule for equal rewards as the largest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from plaudit.report.scores import headline_of, scores_of

__all__ = ["Comparable", "comparable_results"]

_Basis: TypeAlias = tuple[str, str, Any, int]
"""Name of the score, rule for equal rewards, fingerprint of the data, number of comparisons."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparable:
    """What can be said of the results of a suite side by side."""

    models: tuple[str, ...]
    """Those that can be ranked against each other."""
    notes: Mapping[str, str | None]
    """By model what its data lack, or in what it differs from those that are ranked; None for none of it."""


def comparable_results(results: Mapping[str, Mapping[str, Any]]) -> Comparable:
    """The results of one suite that can be ranked against each other.

    Args:
        results: By model the content of its ``results.json``.
    """
    lacks = {model: _lacks(result) for model, result in results.items()}
    basis = {model: _basis(result) for model, result in results.items()}
    candidates = [model for model in results if not lacks[model]] or list(results)
    largest = _largest([basis[model] for model in candidates])
    notes = {model: [*lacks[model], *_differences(basis[model], largest)] for model in results}
    return Comparable(
        models=tuple(model for model in candidates if basis[model] == largest),
        notes={model: "; ".join(said) or None for model, said in notes.items()},
    )


def _lacks(result: Mapping[str, Any]) -> list[str]:
    """What the suite says of its data, and what was lost since."""
    note = headline_of(result).get("note")
    said = [note] if note else []
    tokenizing = (result.get("data") or {}).get("tokenizing") or {}
    if num := tokenizing.get("num_comparisons_too_long"):
        return [
            *said,
            f"{num:,} of {tokenizing['num_comparisons_in']:,} comparisons were over the length limit",
        ]
    missing = next((s for s in scores_of(result) if s["name"] == "items not scored"), None)
    if missing is not None and missing["value"]:
        said.append(f"{missing['value']:,.0f} of {missing['num_items']:,} items were not scored")
    return said


def _basis(result: Mapping[str, Any]) -> _Basis:
    metrics = result["metrics"]
    fingerprint = (result.get("data") or {}).get("fingerprint")
    return headline_of(result)["name"], metrics["ties"], fingerprint, metrics["num_comparisons"]


def _largest(found: Sequence[_Basis]) -> _Basis:
    """That of the most comparisons; of several that of the most models, then the benchmarks' rule for equal rewards."""
    times = Counter(found)
    return max(found, key=lambda basis: (basis[3], times[basis], basis[1] == "zero"))


def _differences(basis: _Basis, largest: _Basis) -> list[str]:
    (name, ties, data, num), (name_of_largest, ties_of_largest, largest_data, largest_num) = basis, largest
    said = []
    if name != name_of_largest:
        said.append(f"its score is {name}, that of the others {name_of_largest}")
    if ties != ties_of_largest:
        said.append(f"equal rewards count {ties}, for the others {ties_of_largest}")
    if num != largest_num:
        said.append(f"{num:,} comparisons, the others have {largest_num:,}")
    elif data != largest_data:
        said.append("other data than the others (their fingerprints differ)")
    return said
