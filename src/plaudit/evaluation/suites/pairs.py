"""What equal rewards count for, and scores by subset: the parts that the rules of several suites share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from plaudit.errors import unknown_choice
from plaudit.evaluation.metrics import TIE_RULES
from plaudit.evaluation.suites.items import ScoredItem
from plaudit.evaluation.suites.means import Cells
from plaudit.evaluation.suites.scores import NamedScore
from plaudit.objective.intervals import proportion_estimate

__all__ = [
    "by_subset",
    "check_ties",
    "clusters_of",
    "diagnostics",
    "pair_rule",
    "pair_value",
    "pair_values",
    "same_prompt",
    "scored",
    "subset_names",
    "wins",
]

_EQUAL = {"zero": "equal rewards count nothing", "half": "equal rewards count half"}


def pair_rule(ties: str) -> str:
    """The rule of an accuracy over pairs, as a sentence.

    >>> pair_rule("zero")
    'share of pairs in which the better answer has the higher reward; equal rewards count nothing'
    """
    return f"share of pairs in which the better answer has the higher reward; {_EQUAL[ties]}"


def check_ties(ties: str) -> None:
    """Whether the tie rule is one.

    Raises:
        PlauditError: It is not.
    """
    if ties not in TIE_RULES:
        raise unknown_choice("--ties", ties, TIE_RULES)


def wins(better: np.ndarray | float, worse: np.ndarray | float, ties: str) -> np.ndarray:
    """float64: 1 where better > worse, 0 where less; equal ones by the rule. Broadcasts.

    >>> wins(np.array([2.0, 1.0, 0.0]), 1.0, "half").tolist()
    [1.0, 0.5, 0.0]
    """
    equal = 0.5 if ties == "half" else 0.0
    return np.asarray(np.greater(better, worse) + equal * np.equal(better, worse))


def pair_values(item: ScoredItem, ties: str) -> Float[np.ndarray, " comparison"]:
    """What each decided comparison of the item counts for; ties of the data are left out."""
    decided = [c for c in item.comparisons if not c.is_tie]
    better, worse = [c.better for c in decided], [c.worse for c in decided]
    return wins(item.rewards[better], item.rewards[worse], ties)


def pair_value(item: ScoredItem, ties: str) -> float:
    """The mean of `pair_values`: of a pair, what it counts for."""
    return float(pair_values(item, ties).mean())


def scored(items: Iterable[ScoredItem]) -> list[ScoredItem]:
    """The items that have all rewards, in the order of the data, so that no sum depends on the order given."""
    return sorted((item for item in items if item.is_scored), key=lambda item: item.group)


def same_prompt(item: ScoredItem) -> int:
    """A number that items of one prompt share."""
    return item.prompt if item.prompt >= 0 else -2 - item.group


def clusters_of(items: Sequence[ScoredItem]) -> np.ndarray:
    """int64 [item]: the prompt of each."""
    return np.array([same_prompt(item) for item in items], dtype=np.int64)


def subset_names(items: Iterable[ScoredItem], order: Sequence[str] = ()) -> list[str]:
    """The subsets there are: those of ``order`` first, others after them by name."""
    found = {item.subset for item in items if item.subset is not None}
    return [name for name in order if name in found] + sorted(found - set(order))


def by_subset(
    items: Sequence[ScoredItem], names: Sequence[str], value: Callable[[ScoredItem], float]
) -> Cells:
    """One cell for each subset, of one value an item."""
    cells = Cells()
    for name in names:
        chosen = [item for item in items if item.subset == name]
        cells.add(name, [value(item) for item in chosen], clusters_of(chosen))
    return cells


def diagnostics(items: Sequence[ScoredItem]) -> list[NamedScore]:
    """The rate of equal rewards, and how many of the items that compare something have no score.

    Args:
        items: All items, scored or not.
    """
    items = [item for item in items if item.comparisons]
    complete = scored(items)
    equal, clusters = _equal_rewards(complete)
    tie_rate = proportion_estimate(equal, clusters)
    has = tie_rate.interval.method != "none"
    num_missing = len(items) - len(complete)
    return [
        NamedScore(
            name="tie rate",
            value=tie_rate.value,
            num_items=len(complete),
            kind="diagnostic",
            rule="share of comparisons whose two rewards are equal",
            low=tie_rate.interval.low if has else None,
            high=tie_rate.interval.high if has else None,
            interval=tie_rate.interval.method,
        ),
        NamedScore(
            name="items not scored",
            value=float(num_missing),
            num_items=len(items),
            kind="diagnostic",
            rule="count of items that lack the reward of a completion, such as one over the length limit; they are "
            "in no score",
        ),
    ]


def _equal_rewards(items: Sequence[ScoredItem]) -> tuple[Float[np.ndarray, " n"], np.ndarray]:
    equal: list[Bool[np.ndarray, " comparison"]] = []
    clusters: list[int] = []
    for item in items:
        decided = [c for c in item.comparisons if not c.is_tie]
        equal.append(item.rewards[[c.better for c in decided]] == item.rewards[[c.worse for c in decided]])
        clusters += [same_prompt(item)] * len(decided)
    values = np.concatenate(equal) if equal else np.empty(0, dtype=np.bool_)
    return values.astype(np.float64), np.array(clusters, dtype=np.int64)
