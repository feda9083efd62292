"""Style control: how often a model is right when both completions have the same length and the same markdown.

Two ways. *Matched*: the accuracy over comparisons whose completions are equally long, within a tenth. *Regression*,
as the Chatbot Arena does it: the logarithm of the odds that the model prefers the better completion is a constant
plus a weight for each difference in style; the accuracy at equal style is the sigmoid of the constant. The weights
say what the model leans to: a positive one for length means that it prefers the longer answer, whatever is right.

Style is length in characters and the number of headers, list items, bold passages and code blocks, each as
(better - worse) / (better + worse), 0 where both are 0; markdown is counted outside code. A feature in which hardly
any comparison differs is left out: no weight can be told for it, and a model that is right in those few would leave
every weight without a finite estimate. Source: T. Li et al., 2024, Does style matter? Disentangling style and
substance in Chatbot Arena (lmsys.org).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from plaudit.evaluation.logistic import fit_logistic
from plaudit.evaluation.plan import PreferenceRows
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.said import said
from plaudit.objective.intervals import Estimate, Interval, no_estimate, proportion_estimate

__all__ = [
    "STYLE_FEATURES",
    "StyleControl",
    "StyleWeight",
    "control_for_length",
    "control_for_style",
    "count_style",
    "measure_style",
    "style_differences",
]

STYLE_FEATURES = ("length", "headers", "lists", "bold", "code blocks")
"""What is counted, in this order; length is in characters."""

EQUAL_LENGTH = 0.1
"""Lengths count as equal when their difference is at most this share of the longer one (assumed)."""

MIN_DIFFERENT = 10
"""Comparisons that differ in a feature, below which it is left out (assumed: ten for each weight, as P. Peduzzi et al.,
1996, J. Clin. Epidemiol. 49, 1373-1379, advise of events)."""

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_HEADER = re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+\S", re.MULTILINE)
_LIST = re.compile(r"^[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*(?=\S)[^*\n]+\*\*|__(?=\S)[^_\n]+__")


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleWeight:
    """How one difference in style moves the model's choice."""

    name: str
    """One of `STYLE_FEATURES`."""
    weight: float
    """Change of the log odds when the difference goes from 0 to 1: the completion has all of it, the other none."""
    low: float
    """Lower end of its 95% interval; NaN where there are too few prompts for one."""
    high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleControl:
    """Accuracy with style held equal."""

    matched: Estimate
    """Accuracy over comparisons whose completions are equally long, within `EQUAL_LENGTH`."""
    controlled: Estimate
    """Accuracy at equal style by the regression; its n counts the comparisons that entered."""
    weights: tuple[StyleWeight, ...]
    """The weight of each feature that entered; empty where the regression could not be made."""
    left_out: tuple[str, ...]
    """The features in which fewer than `MIN_DIFFERENT` comparisons differ, or all alike: not held equal."""


def control_for_style(
    decided: ComparisonRows, correctness: Float[np.ndarray, " comparison"], preferences: PreferenceRows
) -> StyleControl:
    """Accuracy with length and markdown held equal.

    Args:
        decided: The comparisons, data ties excluded.
        correctness: 1, 0 or, for equal rewards, what the tie rule gives.
        preferences: The table that `ComparisonRows.group` points into: markdown is counted in its texts.
    """
    better, worse = style_of_rows(decided, preferences)
    is_equal = is_equally_long(better[:, 0], worse[:, 0])
    return measure_style(style_differences(better, worse), is_equal, correctness, decided.prompt)


def control_for_length(
    decided: ComparisonRows, correctness: Float[np.ndarray, " comparison"]
) -> StyleControl:
    """Accuracy with length alone held equal, for which no texts are needed.

    Args:
        decided: The comparisons, data ties excluded.
        correctness: 1, 0 or, for equal rewards, what the tie rule gives.
    """
    better, worse = decided.num_characters_better, decided.num_characters_worse
    differences = style_differences(better[:, None], worse[:, None])
    is_equal = is_equally_long(better, worse)
    return measure_style(differences, is_equal, correctness, decided.prompt, names=STYLE_FEATURES[:1])


def measure_style(
    differences: Float[np.ndarray, "comparison feature"],
    is_equally_long: np.ndarray,
    correctness: Float[np.ndarray, " comparison"],
    prompts: Int[np.ndarray, " comparison"],
    *,
    names: Sequence[str] = STYLE_FEATURES,
) -> StyleControl:
    """Accuracy with style held equal, of comparisons that are not data ties.

    Intervals of the regression come from standard errors that are robust to the dependence of comparisons of one
    prompt (the sandwich of K.-Y. Liang and S. L. Zeger, 1986, Biometrika 73, 13-22).

    Args:
        differences: Normalised differences, better less worse, as `style_differences` gives them.
        is_equally_long: bool [comparison]: the matched ones.
        correctness: 1, 0 or, for equal rewards, what the tie rule gives.
        prompts: The prompt of each comparison.
        names: What the features are called.
    """
    matched = (
        proportion_estimate(correctness[is_equally_long], prompts[is_equally_long])
        if is_equally_long.any()
        else no_estimate("no comparison whose completions are equally long")
    )
    enters = _varies(differences)
    left_out = tuple(name for name, does in zip(names, enters, strict=True) if not does)
    design = np.column_stack([np.ones(len(differences)), differences[:, enters]])
    fit = fit_logistic(design, correctness, prompts)
    if not isinstance(fit, str) and differences.any() and not enters.any():
        fit = f"fewer than {MIN_DIFFERENT} comparisons differ in any feature of style"
    if isinstance(fit, str):
        none = no_estimate(fit, n=len(correctness))
        return StyleControl(matched=matched, controlled=none, weights=(), left_out=left_out)
    low, high = fit.weights - fit.half_widths, fit.weights + fit.half_widths
    interval = (
        Interval(low=_sigmoid(low[0]), high=_sigmoid(high[0]), method="robust errors over prompts")
        if fit.reason is None
        else Interval(low=np.nan, high=np.nan, method="none", reason=fit.reason)
    )
    kept = [name for name, does in zip(names, enters, strict=True) if does]
    return StyleControl(
        matched=matched,
        controlled=Estimate(value=_sigmoid(fit.weights[0]), n=len(correctness), interval=interval),
        weights=tuple(
            StyleWeight(name=name, weight=float(fit.weights[i]), low=float(low[i]), high=float(high[i]))
            for i, name in enumerate(kept, start=1)
        ),
        left_out=left_out,
    )


def style_differences(
    better: Int[np.ndarray, "comparison feature"], worse: Int[np.ndarray, "comparison feature"]
) -> Float[np.ndarray, "comparison feature"]:
    """(better - worse) / (better + worse) of each count; 0 where both are 0.

    >>> style_differences(np.array([[300, 0]]), np.array([[100, 0]])).tolist()
    [[0.5, 0.0]]
    """
    total = better + worse
    return np.divide(better - worse, total, out=np.zeros(total.shape), where=total > 0)


def count_style(text: str) -> tuple[int, int, int, int, int]:
    """The counts of `STYLE_FEATURES` in a text.

    >>> count_style("# Title\\n- one\\n- **two**\\n```\\n# no header\\n```")
    (43, 1, 2, 1, 1)
    """
    outside, num_code = _CODE.subn("", text)
    return (
        len(text),
        len(_HEADER.findall(outside)),
        len(_LIST.findall(outside)),
        len(_BOLD.findall(outside)),
        num_code,
    )


def style_of_rows(
    rows: ComparisonRows, preferences: PreferenceRows
) -> tuple[Int[np.ndarray, "comparison feature"], Int[np.ndarray, "comparison feature"]]:
    """The counts of both completions of each comparison, from the texts of the preference table.

    Args:
        rows: The comparisons.
        preferences: The table that `ComparisonRows.group` points into.
    """
    counts = np.zeros((2, len(rows), len(STYLE_FEATURES)), dtype=np.int64)
    known: dict[int, tuple[int, ...]] = {}
    row, group = -1, None
    for i in np.argsort(rows.group, kind="stable").tolist():
        if group is None or row != rows.group[i]:
            row = int(rows.group[i])
            group, known = preferences[row], {}
        for side, index in enumerate((int(rows.completion_better[i]), int(rows.completion_worse[i]))):
            if index not in known:
                known[index] = count_style(said(group.completions[index]))
            counts[side, i] = known[index]
    return counts[0], counts[1]


def is_equally_long(
    better: Int[np.ndarray, " comparison"], worse: Int[np.ndarray, " comparison"]
) -> np.ndarray:
    """bool [comparison]: whether two lengths differ by at most `EQUAL_LENGTH` of the longer one."""
    return np.abs(better - worse) <= EQUAL_LENGTH * np.maximum(better, worse)


def _varies(differences: Float[np.ndarray, "comparison feature"]) -> Bool[np.ndarray, " feature"]:
    """Whether a weight can be told for each feature: enough comparisons differ in it, and not all alike."""
    if not len(differences):
        return np.zeros(differences.shape[1], dtype=np.bool_)
    return (np.count_nonzero(differences, axis=0) >= MIN_DIFFERENT) & (np.ptp(differences, axis=0) > 0)


def _sigmoid(logit: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -logit)))
