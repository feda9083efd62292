"""The scores of one model on one suite in one form: those of its own rule, else those of plain comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

__all__ = ["Score", "headline_of", "missing_data", "scores_of"]

Score: TypeAlias = dict[str, Any]
"""``name``, ``value``, ``low`` and ``high`` of the 95% interval, ``num_items``, ``kind`` (``average``, ``section``,
``subset`` or ``diagnostic``), ``rule``, and of a suite's own scores ``note`` (what is missing from the data, or
None); numbers that are not defined are None."""

_TIE_RULE = {"zero": "equal rewards are wrong", "half": "equal rewards count half"}


def scores_of(results: Mapping[str, Any]) -> list[Score]:
    """All scores of one ``results.json``, in the order in which they are printed."""
    suite_scores = results.get("suite_scores")
    if suite_scores:
        return [dict(score) for score in suite_scores["scores"]]
    metrics = results["metrics"]
    rule = f"share of comparisons with reward(better) > reward(worse); {_TIE_RULE[metrics['ties']]}"
    scores = [_score("accuracy", metrics["accuracy"], "average", rule)]
    if metrics["subsets"]:
        mean_rule = "plain mean of the subsets' accuracies; n counts subsets"
        scores.append(_score("mean over subsets", metrics["macro_accuracy"], "average", mean_rule))
    scores += [
        _score(
            "(none)" if subset["name"] is None else subset["name"],
            subset["accuracy"],
            "subset",
            f"{rule}, within the subset",
        )
        for subset in metrics["subsets"]
    ]
    return scores


def headline_of(results: Mapping[str, Any]) -> Score:
    """The score by which the suite is known."""
    scores = scores_of(results)
    name = (results.get("suite_scores") or {}).get("headline", "accuracy")
    return next(score for score in scores if score["name"] == name)


def missing_data(scores: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What is missing from the data or odd about them, each once, with the names of the scores that it is said of.

    >>> missing_data([{"name": "a", "note": "without x"}, {"name": "b", "note": "without x"}, {"name": "c"}])
    [('a, b', 'without x')]
    """
    names: dict[str, list[str]] = {}
    for score in scores:
        if score.get("note"):
            names.setdefault(score["note"], []).append(score["name"])
    return [(", ".join(known), note) for note, known in names.items()]


def _score(name: str, estimate: Mapping[str, Any], kind: str, rule: str) -> Score:
    return {
        "name": name,
        "value": estimate["value"],
        "low": estimate["interval"]["low"],
        "high": estimate["interval"]["high"],
        "num_items": estimate["n"],
        "kind": kind,
        "rule": rule,
    }
