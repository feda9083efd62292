"""LLMBar: instruction following, natural pairs and four adversarial sets whose wrong answer looks the better one.

Subsets may have LLMBar's own names (``LLMBar/Adversarial/Neighbor``) or RewardBench's (``llmbar-adver-neighbor``).
The data are local: pairs with prompt, chosen, rejected and subset.

Source: Zeng et al., arXiv:2310.07641, table 2: natural, the mean of the four adversarial sets; the micro accuracy
is beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.evaluation.suites.groups import all_pairs, make_group, read_prompt, read_text
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
from plaudit.evaluation.suites.suite import Benchmark
from plaudit.preferences import PreferenceGroup

__all__ = ["COUNTS", "LLMBar"]

COUNTS = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}
"""Pairs of each set."""

_ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")


class LLMBar(Benchmark):
    """See the module."""

    name = "llmbar"
    title = "LLMBar"
    paper = "https://arxiv.org/abs/2310.07641"
    columns = ("prompt", "chosen", "rejected", "subset")

    def to_group(self, row: Mapping[str, Any], part: str | None, where: str) -> PreferenceGroup:
        """A pair."""
        answers = [read_text(row, "chosen"), read_text(row, "rejected")]
        subset = _plain_name(read_text(row, "subset"))
        prompt = read_prompt(row["prompt"])
        return make_group(prompt, answers, all_pairs([0], [1]), row=row, subset=subset, where=where)

    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """Each set, the adversarial ones together, all pairs together."""
        check_ties(ties)
        complete = scored(items)
        names = subset_names(complete, tuple(COUNTS))
        cells = by_subset(complete, names, lambda item: pair_value(item, ties))
        known = [item for item in complete if item.subset in COUNTS]
        cells.add("accuracy", [pair_value(item, ties) for item in known], clusters_of(known))
        adversarial = Section(name="Adversarial", weights=dict.fromkeys(_ADVERSARIAL, 1.0))
        every = Section(name="mean of sets", weights=dict.fromkeys(COUNTS, 1.0))
        return SuiteScores(
            suite=self.name,
            headline="accuracy",
            scores=(
                *[
                    cells.score_cell(
                        name,
                        rule=pair_rule(ties),
                        note=lacking(cells, {name: COUNTS[name]})
                        if name in COUNTS
                        else "not a set of LLMBar: in no average",
                    )
                    for name in names
                ],
                cells.score_combination(
                    adversarial.name,
                    adversarial.present(cells),
                    kind="section",
                    rule="plain mean of the four adversarial sets",
                    note=lacking(cells, {name: COUNTS[name] for name in _ADVERSARIAL}),
                ),
                cells.score_combination(
                    every.name,
                    every.present(cells),
                    rule="plain mean of the five sets: the paper's average",
                    note=lacking(cells, COUNTS),
                ),
                cells.score_cell(
                    "accuracy",
                    kind="average",
                    rule="accuracy over all pairs, each counted once",
                    note=lacking(cells, COUNTS),
                ),
                *diagnostics(items),
            ),
        )


def _plain_name(subset: str) -> str:
    """The set's name in the paper, whichever way the data write it; another name stays as it is."""
    last = subset.replace("-", "/").rpartition("/")[2].casefold()
    return {name.casefold(): name for name in COUNTS}.get(last, subset)
