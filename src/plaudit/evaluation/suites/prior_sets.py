"""The prior test sets of RewardBench: older preference data, of which four make one average.

Roles of the prompts' messages are kept as they are in the data. (The benchmark's own code gives them out by
turns, which makes a user of every system message.)

Source: Lambert et al., arXiv:2403.13787, appendix; counts from the data set's card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.evaluation.suites.groups import all_pairs, make_group, optional_id, read_prompt, read_text
from plaudit.evaluation.suites.items import ScoredItem
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
from plaudit.evaluation.suites.scores import SuiteScores
from plaudit.evaluation.suites.sections import Section, lacking
from plaudit.evaluation.suites.source import SuitePart
from plaudit.evaluation.suites.suite import Benchmark
from plaudit.preferences import PreferenceGroup
from plaudit.preferences.bad_record import BadRecord

__all__ = ["AVERAGED", "COUNTS", "PRIOR_MEAN", "PriorSets"]

COUNTS = {
    "anthropic_helpful": 6192,
    "anthropic_harmless": 2266,
    "anthropic_hhh": 221,
    "summarize": 9000,
    "shp": 1741,
    "mtbench_human": 3355,
    "mtbench_gpt4": 2400,
}
"""Pairs of each set."""

AVERAGED = ("anthropic_helpful", "anthropic_hhh", "shp", "summarize")
"""The sets in the average; the others were left out by the benchmark's authors."""

PRIOR_MEAN = "prior mean"
"""The name of the average."""

_HUB_ID = "allenai/preference-test-sets"


class PriorSets(Benchmark):
    """See the module."""

    name = "prior-sets"
    title = "RewardBench prior sets"
    paper = "https://arxiv.org/abs/2403.13787"
    columns = ("prompt", "chosen", "rejected")
    parts = tuple(SuitePart(name=name, hub_id=_HUB_ID, split=name) for name in COUNTS)

    def to_group(self, row: Mapping[str, Any], part: str | None, where: str) -> PreferenceGroup:
        """A pair. Its subset is the split's name, or the column's where the split is not known."""
        answers = [read_text(row, "chosen"), read_text(row, "rejected")]
        subset = part if part in COUNTS else optional_id(row, "subset")
        if not subset:
            raise BadRecord(
                "missing-key",
                "which set the row is of is not said",
                f"Give a column subset, or call the file after it: {', '.join(COUNTS)}.",
            )
        prompt = read_prompt(row["prompt"])
        return make_group(prompt, answers, all_pairs([0], [1]), row=row, subset=subset, where=where)

    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """Each set, the average of four, and the micro accuracy of all."""
        check_ties(ties)
        complete = scored(items)
        names = subset_names(complete, tuple(COUNTS))
        cells = by_subset(complete, names, lambda item: pair_value(item, ties))
        known = [item for item in complete if item.subset in COUNTS]
        cells.add("micro accuracy", [pair_value(item, ties) for item in known], clusters_of(known))
        prior = Section(name=PRIOR_MEAN, weights=dict.fromkeys(AVERAGED, 1.0))
        return SuiteScores(
            suite=self.name,
            headline=PRIOR_MEAN,
            scores=(
                *[
                    cells.score_cell(
                        name,
                        rule=pair_rule(ties),
                        note=lacking(cells, {name: COUNTS[name]})
                        if name in COUNTS
                        else "not a prior set: in no average",
                    )
                    for name in names
                ],
                cells.score_combination(
                    PRIOR_MEAN,
                    prior.present(cells),
                    rule=f"plain mean of {', '.join(AVERAGED)}",
                    note=lacking(cells, {name: COUNTS[name] for name in AVERAGED}),
                ),
                cells.score_cell(
                    "micro accuracy",
                    kind="average",
                    rule="accuracy over all pairs, each counted once",
                    note=lacking(cells, COUNTS),
                ),
                *diagnostics(items),
            ),
        )
