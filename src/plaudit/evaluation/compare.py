"""Whether models differ on the comparisons that they share, from the folders that `plaudit eval` wrote.

Guarantees: two models are compared on the same comparisons only, matched by the hash of their texts; what one of
them lacks is counted and named; comparisons of one prompt count as one draw; p is corrected by Holm over all
tests of its family. There are two families: the whole suites of all pairs of models, and all their subsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from plaudit.errors import PlauditError
from plaudit.evaluation.agreement import agreement_of_choices
from plaudit.evaluation.comparison import ModelComparison, PairDifference, SuiteComparison
from plaudit.evaluation.folder import Evaluation, StoredSuite
from plaudit.evaluation.metrics import correctness_of
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.shared_rows import SharedRows, share_rows
from plaudit.evaluation.significance import holm, paired_difference, paired_test

__all__ = ["compare_evaluations"]


def compare_evaluations(
    evaluations: Sequence[Evaluation], *, ties: str = "zero", seed: int = 0
) -> ModelComparison:
    """Compare each pair of models, per suite and subset.

    Args:
        evaluations: What `read_evaluation` gives, one for each model.
        ties: What equal rewards count for, ``zero`` or ``half``.
        seed: Of the bootstrap.

    Raises:
        PlauditError: Fewer than two models, no suite in common, or a suite without a comparison in common.
    """
    if len(evaluations) < 2:
        raise PlauditError(
            "one evaluation alone cannot be compared", fix="Name the folders of two models or more."
        )
    names = _distinct_names(evaluations)
    have = {
        suite: [name for name, e in zip(names, evaluations, strict=True) if suite in e.suites]
        for suite in dict.fromkeys(suite for e in evaluations for suite in e.suites)
    }
    by_name = dict(zip(names, evaluations, strict=True))
    suites = [
        _compare_suite(suite, models, by_name, ties, seed)
        for suite, models in have.items()
        if len(models) > 1
    ]
    if not suites:
        found = "; ".join(f"{name} has {', '.join(by_name[name].suites)}" for name in names)
        raise PlauditError(
            f"the evaluations have no suite in common ({found})",
            fix="Evaluate the models on the same suites or data, under the same names.",
        )
    return ModelComparison(
        models=tuple(names),
        ties=ties,
        suites=_corrected(suites),
        suites_of_one=tuple((suite, models[0]) for suite, models in have.items() if len(models) == 1),
    )


def _distinct_names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Each model's name, or its folder where two have the same name; all different.

    Raises:
        PlauditError: A folder is named twice.
    """
    folders = [e.folder.resolve() for e in evaluations]
    for index, folder in enumerate(folders):
        if folder in folders[:index]:
            raise PlauditError("the folder is named twice", where=str(folder), fix="Name it once.")
    models = [e.model for e in evaluations]
    names = [e.model if models.count(e.model) == 1 else str(e.folder) for e in evaluations]
    # A model may be called as the folder of another is.
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _compare_suite(
    suite: str, models: Sequence[str], evaluations: dict[str, Evaluation], ties: str, seed: int
) -> SuiteComparison:
    shared, not_shared = share_rows({model: evaluations[model].suites[suite] for model in models})
    if len(shared) == 0:
        raise PlauditError(
            f"no comparison of {suite!r} is in the evaluations of all of {', '.join(models)}",
            fix="Evaluate the models on the same data.",
        )
    decided = shared.is_decided
    parts = _subset_masks(shared.rows[0])
    pairs = list(combinations(range(len(models)), 2))
    return SuiteComparison(
        suite=suite,
        models=tuple(models),
        shared=shared,
        not_shared=not_shared,
        num_data_ties=int(np.count_nonzero(~decided)),
        **_headline([evaluations[model].suites[suite] for model in models]),
        whole=tuple(_difference(suite, None, shared, pair, decided, ties, seed) for pair in pairs),
        subsets=tuple(
            _difference(suite, name, shared, pair, mask & decided, ties, seed)
            for name, mask in parts
            for pair in pairs
            if (mask & decided).any()
        ),
    )


def _headline(stored: Sequence[StoredSuite]) -> dict[str, Any]:
    """The score that all of the suite's results call their headline, by one tie rule, and its values."""
    scores = [suite.scores for suite in stored]
    names = {score.headline if score is not None else None for score in scores}
    tie_rules = {suite.result.get("metrics", {}).get("ties") for suite in stored}
    if len(names) > 1 or None in names or len(tie_rules) > 1:
        return {"headline": None, "headline_values": ()}
    values = tuple(score.headline_score.value for score in scores if score is not None)
    return {"headline": names.pop(), "headline_values": values}


def _subset_masks(rows: ComparisonRows) -> list[tuple[str, Bool[np.ndarray, " comparison"]]]:
    """The subsets and where they are; none where all comparisons are in the same one."""
    masks = [(name, rows.subset == code) for code, name in enumerate(rows.subset_names)]
    masks.append(("", rows.subset < 0))
    found = [(name, mask) for name, mask in masks if mask.any()]
    return found if len(found) > 1 else []


def _difference(
    suite: str,
    subset: str | None,
    shared: SharedRows,
    pair: tuple[int, int],
    mask: Bool[np.ndarray, " comparison"],
    ties: str,
    seed: int,
) -> PairDifference:
    one, other = (shared.rows[index].select(mask) for index in pair)
    first, second = correctness_of(one, ties=ties), correctness_of(other, ties=ties)
    test = paired_test(first, second, one.prompt)
    margins: Float[np.ndarray, "model comparison"] = np.stack([one.margin, other.margin])
    return PairDifference(
        suite=suite,
        subset=subset,
        first=shared.models[pair[0]],
        second=shared.models[pair[1]],
        num_prompts=len(np.unique(one.prompt)),
        accuracy_first=float(first.mean()) if len(first) else np.nan,
        accuracy_second=float(second.mean()) if len(second) else np.nan,
        difference=paired_difference(first, second, one.prompt, seed=seed),
        num_only_first=int(np.count_nonzero(first > second)),
        num_only_second=int(np.count_nonzero(second > first)),
        same_choice=float(np.mean(np.sign(margins[0]) == np.sign(margins[1]))) if len(first) else np.nan,
        agreement=agreement_of_choices(margins),
        test=test.method,
        p_value=test.p_value,
        adjusted_p=np.nan,
    )


def _corrected(suites: Sequence[SuiteComparison]) -> tuple[SuiteComparison, ...]:
    """The suites with adjusted p: Holm over all whole suites, and over all subsets."""
    whole = iter(_adjust([d for suite in suites for d in suite.whole]))
    subsets = iter(_adjust([d for suite in suites for d in suite.subsets]))
    return tuple(
        replace(
            suite,
            whole=tuple(next(whole) for _ in suite.whole),
            subsets=tuple(next(subsets) for _ in suite.subsets),
        )
        for suite in suites
    )


def _adjust(differences: Sequence[PairDifference]) -> list[PairDifference]:
    adjusted = holm([d.p_value for d in differences])
    return [replace(d, adjusted_p=float(p)) for d, p in zip(differences, adjusted, strict=True)]
