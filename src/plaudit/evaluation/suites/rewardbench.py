"""RewardBench: 2,985 pairs in 23 subsets and four sections, and its three averages under their own names.

The leaderboard's average is the mean of the four sections; an older one adds the prior sets with half the weight
of a section; the package and most model cards print the micro accuracy. On one model they differ by points: the
card of SmolTulu-1.7b-RM says 72.43, which is micro, and its section mean is 70.33.

Source: Lambert et al., arXiv:2403.13787, and the benchmark's table of counts (with the two xstest counts in the
order of the data; older code has them swapped).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.evaluation.suites.groups import all_pairs, make_group, read_prompt, read_text
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
from plaudit.evaluation.suites.sections import Section, lacking, mean_over_sections, missing_sections
from plaudit.evaluation.suites.source import SuitePart
from plaudit.evaluation.suites.suite import Benchmark
from plaudit.preferences import PreferenceGroup

__all__ = ["COUNTS", "SECTIONS", "WITH_PRIOR_SETS", "RewardBench", "mean_with_prior_sets"]

_SUBSETS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 447,
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 164,
        "hep-rust": 164,
    },
}

COUNTS: dict[str, int] = {name: count for subsets in _SUBSETS.values() for name, count in subsets.items()}
"""Pairs of each subset; 2,985 in all."""

_MATH_WEIGHT = 984
"""What math-prm weighs in Reasoning: as much as the six programming languages together (the benchmark's table)."""

SECTIONS = tuple(
    Section(name=name, weights={s: _MATH_WEIGHT if s == "math-prm" else n for s, n in subsets.items()})
    for name, subsets in _SUBSETS.items()
)
"""The four sections with the weights of their subsets."""

WITH_PRIOR_SETS = "mean with prior sets"
"""The name of the average that needs the data of the suite prior-sets, too."""

_PRIOR_RULE = "mean of the four sections, weight 2 each, and of the prior sets' average, weight 1"


class RewardBench(Benchmark):
    """See the module."""

    name = "rewardbench"
    title = "RewardBench"
    paper = "https://arxiv.org/abs/2403.13787"
    columns = ("prompt", "chosen", "rejected", "subset")
    parts = (SuitePart(name="filtered", hub_id="allenai/reward-bench", split="filtered"),)

    def to_group(self, row: Mapping[str, Any], part: str | None, where: str) -> PreferenceGroup:
        """A pair."""
        answers = [read_text(row, "chosen"), read_text(row, "rejected")]
        prompt, subset = read_prompt(row["prompt"]), read_text(row, "subset")
        return make_group(prompt, answers, all_pairs([0], [1]), row=row, subset=subset, where=where)

    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """Subsets, sections, the three averages."""
        check_ties(ties)
        complete = scored(items)
        cells = by_subset(
            complete, subset_names(complete, tuple(COUNTS)), lambda item: pair_value(item, ties)
        )
        known = [item for item in complete if item.subset in COUNTS]
        cells.add("micro accuracy", [pair_value(item, ties) for item in known], clusters_of(known))
        return SuiteScores(
            suite=self.name,
            headline="section mean",
            scores=(
                *_subset_scores(cells, subset_names(complete, tuple(COUNTS)), ties),
                *[_section_score(section, cells) for section in SECTIONS],
                *_averages(cells),
                *diagnostics(items),
            ),
        )


def _subset_scores(cells: Cells, names: Sequence[str], ties: str) -> list[NamedScore]:
    unknown = "not a subset of RewardBench: in no section, and not in the micro accuracy"
    return [
        cells.score_cell(
            name,
            rule=pair_rule(ties),
            note=lacking(cells, {name: COUNTS[name]}) if name in COUNTS else unknown,
        )
        for name in names
    ]


def _section_score(section: Section, cells: Cells) -> NamedScore:
    weighs = " (math-prm weighs 984 pairs)" if section.name == "Reasoning" else ""
    return cells.score_combination(
        section.name,
        section.present(cells),
        kind="section",
        rule=f"mean over the section's subsets, weighted by their number of pairs{weighs}",
        note=lacking(cells, {name: COUNTS[name] for name in section.weights}),
    )


def _averages(cells: Cells) -> list[NamedScore]:
    notes = [missing_sections(SECTIONS, cells), lacking(cells, COUNTS)]
    return [
        cells.score_combination(
            "section mean",
            mean_over_sections(SECTIONS, cells),
            rule="plain mean of the sections: the leaderboard's average",
            note="; ".join(text for text in notes if text) or None,
        ),
        NamedScore(
            name=WITH_PRIOR_SETS,
            value=math.nan,
            num_items=0,
            kind="average",
            rule=_PRIOR_RULE,
            note="needs the suite prior-sets in the same run",
        ),
        cells.score_cell(
            "micro accuracy",
            kind="average",
            rule="accuracy over all pairs, each counted once: what the package and most model cards print",
            note=lacking(cells, COUNTS),
        ),
    ]


def mean_with_prior_sets(section_mean: NamedScore, prior_mean: NamedScore) -> NamedScore:
    """The average of RewardBench's first leaderboard: (8 * section mean + prior mean) / 9.

    Its interval is by the delta method: the two rest on different prompts, so the squares of their weighted
    half-widths add up.
    """
    weights = {8 / 9: section_mean, 1 / 9: prior_mean}
    value = math.fsum(weight * score.value for weight, score in weights.items())
    ends = {}
    if all(score.low is not None and score.high is not None for score in weights.values()):
        below = math.hypot(*[w * (score.value - (score.low or 0.0)) for w, score in weights.items()])
        above = math.hypot(*[w * ((score.high or 0.0) - score.value) for w, score in weights.items()])
        ends = {"low": value - below, "high": value + above, "interval": "delta method"}
    notes = [score.note for score in weights.values() if score.note]
    return NamedScore(
        name=WITH_PRIOR_SETS,
        value=value,
        num_items=section_mean.num_items + prior_mean.num_items,
        kind="average",
        rule=_PRIOR_RULE,
        note="; ".join(notes) or None,
        **ends,
    )
