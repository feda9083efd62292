"""What a comparison of models says, in sentences and as plain values for machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from plaudit.evaluation.comparison import ALPHA, ModelComparison, PairDifference, SuiteComparison
from plaudit.evaluation.shared_rows import most_different

__all__ = [
    "COMPARISON_SCHEMA_VERSION",
    "comparison_values",
    "p_text",
    "points",
    "sentence",
    "subsets_sentence",
]

COMPARISON_SCHEMA_VERSION = 1
"""Goes up when a key changes its meaning or goes away; new keys leave it as it is."""

SMALLEST_P_SHOWN = 1e-4


def sentence(difference: PairDifference) -> str:
    """Whether two models differ on a suite, and by how much."""
    d = difference
    n = d.difference.n
    if n == 0:
        return f"{d.suite}: {d.first} and {d.second} share no comparison that is not a tie of the data."
    if d.num_only_first == d.num_only_second == 0:
        return f"{d.suite}: {d.first} and {d.second} get the same of {n:,} comparisons right ({_ends(d)} points)."
    rates = f"{d.accuracy_second:.1%} against {d.accuracy_first:.1%} of {n:,} comparisons"
    size = f"{points(d.difference.value)} points ({_ends(d)}), {p_text(d.adjusted_p)} after correction"
    if d.is_significant:
        word = "more" if d.difference.value > 0 else "less"
        return f"{d.suite}: {d.second} is right {word} often than {d.first}: {rates}, {size}."
    return (
        f"{d.suite}: no difference between {d.first} and {d.second} is shown: {d.second} has {rates}, {size}. "
        "The interval says which differences remain possible."
    )


def subsets_sentence(suite: SuiteComparison) -> str | None:
    """In how many subsets models differ after correction, and which they are; None without subsets."""
    if not suite.subsets:
        return None
    found = [d for d in suite.subsets if d.is_significant]
    of_several = len(suite.models) > 2
    unit = "tests of a subset and two models" if of_several else "subsets"
    names = [
        f"{d.subset or '(none)'} ({points(d.difference.value)}"
        + (f", {d.second} - {d.first})" if of_several else ")")
        for d in found
    ]
    what = f"{len(found)} of {len(suite.subsets)} {unit} differ after correction"
    return f"{suite.suite}: {what}{': ' + ', '.join(names) if names else ''}."


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(0.0123), points(-0.5)
    ('+1.2', '-50.0')
    """
    return "none" if math.isnan(difference) else f"{100 * difference:+.1f}"


def p_text(p: float) -> str:
    """A p-value as it is read.

    >>> p_text(0.0341), p_text(1e-9), p_text(1.0)
    ('p = 0.034', 'p < 0.0001', 'p = 1.000')
    """
    if math.isnan(p):
        return "p not defined"
    return f"p < {SMALLEST_P_SHOWN:.4f}" if p < SMALLEST_P_SHOWN else f"p = {p:.3f}"


def comparison_values(comparison: ModelComparison, *, num_rows: int) -> dict[str, Any]:
    """All of it as plain values; a number that is not defined is NaN here (null by `plain_json.as_plain`).

    Args:
        comparison: What `compare_evaluations` gives.
        num_rows: How many of the comparisons that differ most are named, for each suite.
    """
    return {
        "schema": "plaudit.comparison",
        "schema_version": COMPARISON_SCHEMA_VERSION,
        "models": list(comparison.models),
        "ties": comparison.ties,
        "alpha": ALPHA,
        "tested": "the share of shared comparisons that a model gets right; headlines are not tested",
        "correction": "Holm, over whole suites and pairs of models; apart from that over subsets and pairs",
        "suites_of_one_model": [
            {"suite": suite, "model": model} for suite, model in comparison.suites_of_one
        ],
        "suites": [_suite_values(suite, num_rows) for suite in comparison.suites],
    }


def _suite_values(suite: SuiteComparison, num_rows: int) -> dict[str, Any]:
    return {
        "suite": suite.suite,
        "models": list(suite.models),
        "num_shared": len(suite.shared),
        "num_data_ties": suite.num_data_ties,
        "not_shared": [asdict(entry) for entry in suite.not_shared],
        "headline": suite.headline,
        "headline_values": list(suite.headline_values),
        "whole": [_difference_values(d) for d in suite.whole],
        "subsets": [_difference_values(d) for d in suite.subsets],
        "most_different": [asdict(row) for row in most_different(suite.shared, num_rows)],
    }


def _difference_values(difference: PairDifference) -> dict[str, Any]:
    return asdict(difference) | {
        "is_significant": difference.is_significant,
        "sentence": sentence(difference) if difference.subset is None else None,
    }


def _ends(difference: PairDifference) -> str:
    ends: Sequence[float] = (difference.difference.interval.low, difference.difference.interval.high)
    return f"95%: {points(ends[0])} to {points(ends[1])}"
