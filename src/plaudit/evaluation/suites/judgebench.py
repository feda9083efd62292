"""JudgeBench: pairs of answers to hard questions of which one is verified to be right.

Two scores for each split, since the leaderboard's code reads equal rewards as "B is better", which pays a model
for saying nothing wherever B is right: the accuracy with equal rewards by ``ties``, and the leaderboard's.

Source: Tan et al., arXiv:2410.12784, and the code of ScalerLab/JudgeBench.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.evaluation.suites.groups import make_group, read_prompt, read_text
from plaudit.evaluation.suites.items import ScoredItem
from plaudit.evaluation.suites.means import Cells
from plaudit.evaluation.suites.pairs import (
    by_subset,
    check_ties,
    clusters_of,
    diagnostics,
    pair_rule,
    pair_value,
    scored,
    subset_names,
)
from plaudit.evaluation.suites.scores import NamedScore, SuiteScores
from plaudit.evaluation.suites.sections import lacking
from plaudit.evaluation.suites.source import SuitePart
from plaudit.evaluation.suites.suite import Benchmark
from plaudit.preferences import Comparison, PreferenceGroup
from plaudit.preferences.bad_record import BadRecord, shorten

__all__ = ["COUNTS", "JudgeBench", "leaderboard_value"]

COUNTS = {"gpt": 350, "claude": 270}
"""Pairs of each split, by the model that answered."""

CATEGORIES = ("knowledge", "reasoning", "math", "coding")
"""The columns of the leaderboard."""

_HUB_ID = "ScalerLab/JudgeBench"
_LABELS = {"A>B": (0, 1), "B>A": (1, 0)}


class JudgeBench(Benchmark):
    """See the module."""

    name = "judgebench"
    title = "JudgeBench"
    paper = "https://arxiv.org/abs/2410.12784"
    columns = ("question", "response_A", "response_B", "label", "source")
    parts = tuple(SuitePart(name=name, hub_id=_HUB_ID, split=name) for name in COUNTS)

    def to_group(self, row: Mapping[str, Any], part: str | None, where: str) -> PreferenceGroup:
        """A pair, A first whichever is better; its subset is split/category."""
        label = row["label"]
        if not isinstance(label, str) or label not in _LABELS:
            raise BadRecord("wrong-type", f"label is {shorten(repr(label))}", "It is A>B or B>A.")
        better, worse = _LABELS[label]
        return make_group(
            read_prompt(row["question"], "question"),
            [read_text(row, "response_A"), read_text(row, "response_B")],
            (Comparison(better=better, worse=worse),),
            row=row,
            subset=f"{_split(row, part)}/{_category(read_text(row, 'source'))}",
            where=where,
            id_column="pair_id",
        )

    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """Categories of each split, and each split by both rules.

        The headline is ``gpt``, which the leaderboard ranks by; where the data have no such split, the split that they
        have, under its own name. A split of which no item was scored stays, without a value.
        """
        check_ties(ties)
        complete = scored(items)
        order = [f"{split}/{category}" for split in COUNTS for category in CATEGORIES]
        names = subset_names(complete, order)
        cells = by_subset(complete, names, lambda item: pair_value(item, ties))
        splits = _splits(items)
        for split in splits:
            chosen = [item for item in complete if _split_of(item) == split]
            cells.add(split, [pair_value(item, ties) for item in chosen], clusters_of(chosen))
            cells.add(
                _by_leaderboard(split), [leaderboard_value(item) for item in chosen], clusters_of(chosen)
            )
        return SuiteScores(
            suite=self.name,
            headline=splits[0],
            scores=(
                *[cells.score_cell(name, rule=pair_rule(ties)) for name in names],
                *[score for split in splits for score in _split_scores(cells, split, ties)],
                *diagnostics(items),
            ),
        )


def leaderboard_value(item: ScoredItem) -> float:
    """1 where the leaderboard's decision, "A>B" if A has the higher reward and else "B>A", is the label."""
    label_is_b = item.comparisons[0].better == 1
    return float((item.rewards[0] > item.rewards[1]) != label_is_b)


def _by_leaderboard(split: str) -> str:
    return f"{split}, leaderboard's rule"


def _split_scores(cells: Cells, split: str, ties: str) -> list[NamedScore]:
    note = lacking(cells, {split: COUNTS[split]}) if split in COUNTS else "not a split of JudgeBench"
    return [
        cells.score_cell(
            split, kind="average", rule=f"{pair_rule(ties)}; over all pairs of the split", note=note
        ),
        cells.score_cell(
            _by_leaderboard(split),
            kind="average",
            rule="share of pairs whose label is the leaderboard's decision, which reads equal rewards as B>A",
            note=note,
        ),
    ]


def _splits(items: Sequence[ScoredItem]) -> list[str]:
    """The splits of the data, scored or not, in the benchmark's order; the first where there is no data."""
    found = {_split_of(item) for item in items if item.subset is not None}
    known = [name for name in COUNTS if name in found]
    return [*known, *sorted(found - set(COUNTS))] or [next(iter(COUNTS))]


def _split_of(item: ScoredItem) -> str:
    return str(item.subset).partition("/")[0]


def _split(row: Mapping[str, Any], part: str | None) -> str:
    """The part it was read from, or the model that answered."""
    model = str(row.get("response_model") or "")
    return part or next((name for name in COUNTS if model.startswith(name)), "pairs")


def _category(source: str) -> str:
    """The leaderboard's column of a source: MMLU-Pro is knowledge, LiveCodeBench coding."""
    if source.startswith("mmlu-pro"):
        return "knowledge"
    if source.startswith("livebench-"):
        return source.removeprefix("livebench-")
    return "coding" if source.startswith("livecodebench") else source
