"""UFB: the held-out pairs of UltraFeedback, cleaned, as open reward models report them beside RewardBench.

Every row counts, those with equal scores too: the benchmark asks whether chosen > rejected and never looks at the
scores. How many have equal scores is among the diagnostics.

Source: the split test_prefs of allenai/ultrafeedback_binarized_cleaned; Ivison et al., arXiv:2406.09279.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plaudit.evaluation.suites.groups import all_pairs, optional_id
from plaudit.evaluation.suites.items import ScoredItem
from plaudit.evaluation.suites.means import Cells
from plaudit.evaluation.suites.pairs import (
    check_ties,
    clusters_of,
    diagnostics,
    pair_rule,
    pair_value,
    scored,
)
from plaudit.evaluation.suites.scores import NamedScore, SuiteScores
from plaudit.evaluation.suites.source import SuitePart
from plaudit.evaluation.suites.suite import Benchmark
from plaudit.preferences import PreferenceGroup
from plaudit.preferences.formats.conversation import unify
from plaudit.preferences.formats.pairs import read_pair_scores

__all__ = ["NUM_PAIRS", "UFB"]

NUM_PAIRS = 985
"""Rows of the split."""


class UFB(Benchmark):
    """See the module."""

    name = "ufb"
    title = "UltraFeedback, cleaned"
    paper = "https://arxiv.org/abs/2310.01377"
    columns = ("prompt", "chosen", "rejected")
    parts = (
        SuitePart(
            name="test_prefs",
            hub_id="allenai/ultrafeedback_binarized_cleaned",
            split="test_prefs",
            aliases=("test",),
        ),
    )

    def to_group(self, row: Mapping[str, Any], part: str | None, where: str) -> PreferenceGroup:
        """A pair of conversations, or of answers, with their scores as ratings."""
        conversation = unify(
            row["prompt"], (row["chosen"], row["rejected"]), ("chosen", "rejected"), transcripts="text"
        )
        return PreferenceGroup(
            prompt=conversation.prompt,
            completions=conversation.completions,
            comparisons=all_pairs([0], [1]),
            ratings=read_pair_scores(row),
            id=optional_id(row, "prompt_id") or optional_id(row, "id"),
            source=where,
        )

    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """The accuracy."""
        check_ties(ties)
        complete = scored(items)
        cells = Cells()
        cells.add("accuracy", [pair_value(item, ties) for item in complete], clusters_of(complete))
        note = None if len(complete) == NUM_PAIRS else f"{len(complete):,} of {NUM_PAIRS} pairs"
        equal = [i for i in items if i.ratings is not None and np.ptp(i.ratings) == 0]
        return SuiteScores(
            suite=self.name,
            headline="accuracy",
            scores=(
                cells.score_cell("accuracy", kind="average", rule=pair_rule(ties), note=note),
                NamedScore(
                    name="pairs with equal scores",
                    value=float(len(equal)),
                    num_items=len(items),
                    kind="diagnostic",
                    rule="count of pairs that the data rate alike; they count as the others do",
                ),
                *diagnostics(items),
            ),
        )
