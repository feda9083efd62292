"""How far judges, models and labels agree beyond chance: Krippendorff's alpha and Cohen's kappa.

A judgement between two completions has no value of its own: which of them is named first is an accident, and
where the data name the better one first every label would be the same. `agreement_of_choices` therefore counts
each comparison in both orders, which makes chance agreement exactly 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from plaudit.errors import unknown_choice

__all__ = ["LEVELS", "agreement_of_choices", "cohen_kappa", "krippendorff_alpha"]


def krippendorff_alpha(values: Float[np.ndarray, "rater unit"], *, level: str = "nominal") -> float:
    """1 - observed / expected disagreement: 1 is perfect, 0 is chance, below 0 is worse than chance.

    Formula: o[v, w] sums, over units with m >= 2 values, the ordered pairs of values v, w of two raters divided
    by m - 1; n_v are its row sums. alpha = 1 - (n - 1) sum o[v, w] d(v, w) / sum n_v n_w d(v, w).

    Args:
        values: What each rater said of each unit; NaN where it said nothing. Codes of any kind as numbers.
        level: How far two values are apart: ``nominal`` (the same or not), ``ordinal``, ``interval``.

    Returns:
        NaN where no unit has two values, or where all values are the same: nothing varies, so nothing can agree.

    Raises:
        PlauditError: The level is unknown.

    Source: K. Krippendorff, 2011, Computing Krippendorff's Alpha-Reliability, section E.

    >>> krippendorff_alpha(np.array([[1.0, 2.0, 1.0], [1.0, 2.0, 2.0]]))  # 1 - 5 (2 / 18)
    0.4444444444444444
    """
    if level not in LEVELS:
        raise unknown_choice("level", level, tuple(LEVELS))
    kinds = np.unique(values[~np.isnan(values)])
    # [unit, kind]: how many raters gave the unit this value.
    counts = (values.T[:, :, None] == kinds).sum(axis=1).astype(np.float64)
    counts = counts[counts.sum(axis=1) >= 2]
    if len(counts) == 0:
        return math.nan
    per_pair = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidence = counts.T @ per_pair - np.diag(per_pair.sum(axis=0))
    total = coincidence.sum(axis=1)
    distance = LEVELS[level](kinds, total)
    expected = float(total @ distance @ total)
    if expected == 0:
        return math.nan
    return 1.0 - (float(total.sum()) - 1) * float((coincidence * distance).sum()) / expected


def cohen_kappa(first: Float[np.ndarray, " unit"], second: Float[np.ndarray, " unit"]) -> float:
    """Agreement of two raters beyond what their own frequencies give; NaN where that is all there can be.

    Formula: (p_o - p_e) / (1 - p_e), with p_e the sum over values of the product of the two frequencies.

    Source: J. Cohen, 1960, Educational and Psychological Measurement 20, 37-46.

    >>> cohen_kappa(np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0]))
    0.5
    """
    if len(first) == 0:
        return math.nan
    kinds = np.unique(np.concatenate([first, second]))
    expected = float(sum((first == kind).mean() * (second == kind).mean() for kind in kinds))
    observed = float((first == second).mean())
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


def agreement_of_choices(margins: Float[np.ndarray, "rater comparison"]) -> float:
    """Krippendorff's alpha (nominal) of choices between two completions, given as signed margins.

    Args:
        margins: Above 0 where the rater prefers the one completion of a comparison, below 0 for the other, 0 for
            neither; NaN where it said nothing. For labels: 1 for every comparison whose better one comes first.

    >>> round(agreement_of_choices(np.array([[1.0, 1.0, 1.0, 1.0], [0.5, 2.0, 0.1, -3.0]])), 4)
    0.5312
    """
    choices = np.sign(margins)
    return krippendorff_alpha(np.concatenate([choices, -choices], axis=1))


_Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _nominal(kinds: np.ndarray, total: np.ndarray) -> np.ndarray:
    return 1.0 - np.eye(len(kinds))


def _ordinal(kinds: np.ndarray, total: np.ndarray) -> np.ndarray:
    middle = np.cumsum(total) - total / 2
    return (middle[:, None] - middle[None, :]) ** 2


def _interval(kinds: np.ndarray, total: np.ndarray) -> np.ndarray:
    return (kinds[:, None] - kinds[None, :]) ** 2


LEVELS: Mapping[str, _Distance] = {"nominal": _nominal, "ordinal": _ordinal, "interval": _interval}
"""For each level of measurement the squared distance of every two values, from the values and their counts."""
