"""PPE, best of K: sampled answers of which it is known which are right, and how good the pick by reward is.

For each benchmark, as means over its prompts:

* best of n: the chance that the answer with the highest reward among n is right, over all subsets of n of the K
  answers, exactly (`plaudit.evaluation.bestofn`); answers with equal rewards are picked equally often. The score is
  best of K, where the pick is among all answers.
* area: the mean of best of n over n = 1 .. K.
* accuracy: the share of (right, wrong) pairs of a prompt that are ranked right.
* ROC AUC: the same with equal rewards counting half, which is the area under the prompt's ROC curve.

A prompt whose answers are all right or all wrong is 1 or 0 in the curves, whatever the rewards, and has no pairs.

Source: Frick et al., arXiv:2410.14872, section 5. The accuracy and the AUC over prompts are plaudit's reading of it:
exact over all pairs, where the paper's code samples some.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from plaudit.evaluation.bestofn import expected_quality
from plaudit.evaluation.suites.groups import (
    all_pairs,
    make_group,
    optional_id,
    read_list,
    read_prompt,
    read_text,
)
from plaudit.evaluation.suites.items import ScoredItem
from plaudit.evaluation.suites.means import Cells
from plaudit.evaluation.suites.pairs import (
    check_ties,
    diagnostics,
    pair_rule,
    pair_value,
    same_prompt,
    subset_names,
)
from plaudit.evaluation.suites.scores import NamedScore, SuiteScores
from plaudit.evaluation.suites.source import SuitePart
from plaudit.evaluation.suites.suite import Benchmark
from plaudit.preferences import PreferenceGroup
from plaudit.preferences.bad_record import BadRecord

__all__ = ["BENCHMARKS", "PPE", "best_of_curve"]

BENCHMARKS = ("MMLU-Pro", "MATH", "GPQA", "MBPP-Plus", "IFEval")
"""The five benchmarks with a verifier."""

_RESPONSE = re.compile(r"response_(\d+)")
_NOT_ALL = "over {} of 5 benchmarks: without {}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prompt:
    item: ScoredItem
    curve: np.ndarray
    """float64 [K]: expected quality of the best of 1 .. K."""

    @property
    def has_pairs(self) -> bool:
        return bool(self.item.comparisons)


class PPE(Benchmark):
    """See the module."""

    name = "ppe"
    title = "PPE best of K"
    paper = "https://arxiv.org/abs/2410.14872"
    columns = ("question_id", "prompt", "scores", "response_1")
    parts = tuple(
        SuitePart(name=name, hub_id=f"lmarena-ai/PPE-{name}-Best-of-K", split="train") for name in BENCHMARKS
    )

    def to_group(self, row: Mapping[str, Any], part: str | None, where: str) -> PreferenceGroup:
        """K answers rated 1 (right) or 0; each right one is better than each wrong one."""
        numbers = sorted(int(match[1]) for match in map(_RESPONSE.fullmatch, row) if match)
        answers = [read_text(row, f"response_{number}") for number in numbers]
        is_right = read_list(row, "scores", of=bool)
        if len(is_right) != len(answers):
            raise BadRecord(
                "length-mismatch",
                f"{len(is_right)} scores for {len(answers)} answers",
                "Give one for each response_1, response_2, ...",
            )
        subset = part or optional_id(row, "benchmark")
        if not subset:
            raise BadRecord(
                "missing-key",
                "which benchmark the row is of is not said",
                f"Give a column benchmark, or call the file after it: {', '.join(BENCHMARKS)}.",
            )
        right, wrong = np.flatnonzero(is_right).tolist(), np.flatnonzero(~np.array(is_right)).tolist()
        return make_group(
            read_prompt(row["prompt"]),
            answers,
            all_pairs(right, wrong),
            row=row,
            subset=subset,
            where=where,
            id_column="question_id",
            ratings=[float(value) for value in is_right],
        )

    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """For each benchmark best of K, area, accuracy and AUC; their means; the curve."""
        check_ties(ties)
        prompts = _measured(items)
        names = subset_names([prompt.item for prompt in prompts], BENCHMARKS)
        cells = Cells()
        for name in names:
            _add_benchmark(cells, name, [p for p in prompts if p.item.subset == name], ties)
        known = [name for name in names if name in BENCHMARKS]
        sizes = [
            n for n in (1, 2, 4, 8, 16, 32, 64) if all(cells.num_items(f"{s} best of {n}") for s in known)
        ]
        return SuiteScores(
            suite=self.name,
            headline="best of K",
            scores=(
                *[score for name in names for score in _benchmark_scores(cells, name, ties)],
                *[
                    _mean_over_benchmarks(cells, known, part, rule)
                    for part, rule in {"best of K": "", **_rules(ties)}.items()
                ],
                *[
                    _mean_over_benchmarks(cells, known, f"best of {n}", "", kind="diagnostic")
                    for n in (sizes if known else [])
                ],
                *[
                    _mean_over_benchmarks(cells, known, part, rule, kind="diagnostic")
                    for part, rule in _REFERENCES.items()
                ],
                *diagnostics(items),
            ),
        )


def best_of_curve(item: ScoredItem) -> Float[np.ndarray, " n"]:
    """Expected quality of the best of n, for n = 1 .. K."""
    assert item.ratings is not None, "answers of PPE are rated"
    quality = item.ratings
    if np.ptp(quality) == 0:
        return np.full(len(quality), quality[0])
    return np.array([expected_quality(item.rewards, quality, n + 1) for n in range(len(quality))])


def _measured(items: Sequence[ScoredItem]) -> list[_Prompt]:
    """The prompts with all rewards, or without need of any, in the order of the data."""
    usable = [item for item in items if item.is_scored or (item.ratings is not None and not item.comparisons)]
    return [
        _Prompt(item=item, curve=best_of_curve(item)) for item in sorted(usable, key=lambda item: item.group)
    ]


_CURVE_RULE = "chance that the answer with the highest reward among n of the K is right, mean over prompts"

_REFERENCES = {
    "oracle": "share of prompts with a right answer: what a perfect reward would pick from all K",
    "random": "share of right answers: what picking at random would give",
}


def _rules(ties: str) -> dict[str, str]:
    return {
        "area": "mean of best of n over n = 1 .. K",
        "accuracy": f"{pair_rule(ties)}; all pairs of a right and a wrong answer of a prompt, mean over prompts",
        "ROC AUC": "the accuracy with equal rewards counting half: the area under each prompt's ROC curve",
    }


def _add_benchmark(cells: Cells, name: str, prompts: Sequence[_Prompt], ties: str) -> None:
    clusters = [same_prompt(prompt.item) for prompt in prompts]
    cells.add(f"{name} best of K", [prompt.curve[-1] for prompt in prompts], clusters)
    cells.add(f"{name} area", [prompt.curve.mean() for prompt in prompts], clusters)
    quality = [np.asarray(prompt.item.ratings) for prompt in prompts]
    cells.add(f"{name} oracle", [of.max() for of in quality], clusters)
    cells.add(f"{name} random", [of.mean() for of in quality], clusters)
    for n in (1, 2, 4, 8, 16, 32, 64):
        if min(len(prompt.curve) for prompt in prompts) >= n:
            cells.add(f"{name} best of {n}", [prompt.curve[n - 1] for prompt in prompts], clusters)
    paired = [prompt for prompt in prompts if prompt.has_pairs]
    clusters = [same_prompt(prompt.item) for prompt in paired]
    cells.add(f"{name} accuracy", [pair_value(prompt.item, ties) for prompt in paired], clusters)
    cells.add(f"{name} ROC AUC", [pair_value(prompt.item, "half") for prompt in paired], clusters)


def _benchmark_scores(cells: Cells, name: str, ties: str) -> list[NamedScore]:
    note = None if name in BENCHMARKS else "not a benchmark of PPE: in no mean"
    best = cells.score_cell(
        f"{name} best of K", kind="section", name=name, rule=f"best of K: {_CURVE_RULE}; n = K", note=note
    )
    parts = [cells.score_cell(f"{name} {part}", rule=rule, note=note) for part, rule in _rules(ties).items()]
    return [best, *parts]


def _mean_over_benchmarks(
    cells: Cells, names: Sequence[str], part: str, rule: str, kind: str = "average"
) -> NamedScore:
    absent = [name for name in BENCHMARKS if name not in names]
    return cells.score_combination(
        part,
        {f"{name} {part}": 1 / len(names) for name in names},
        kind=kind,
        rule=f"plain mean over the benchmarks: {rule or _CURVE_RULE}",
        note=_NOT_ALL.format(5 - len(absent), ", ".join(absent)) if absent else None,
    )
