"""Any preference data as a suite: the accuracy over all comparisons, and by subset.

Reads every format that training reads (`plaudit.preferences`). A group of K completions enters with all its
comparisons, each counted once; ties of the data have no better one and enter no accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plaudit.errors import PlauditError
from plaudit.evaluation.suites.items import ScoredItem
from plaudit.evaluation.suites.means import Cells
from plaudit.evaluation.suites.pairs import check_ties, diagnostics, pair_rule, same_prompt, wins
from plaudit.evaluation.suites.scores import NamedScore, SuiteScores
from plaudit.evaluation.suites.sections import Section
from plaudit.preferences import Preferences, read_preferences

__all__ = ["PreferenceData"]

_NO_SUBSET = "(none)"


class PreferenceData:
    """See the module. ``name`` is what it is called in results; there is one for each source."""

    title = "preference data"

    def __init__(self, name: str = "preferences") -> None:
        self.name = name

    def read(self, source: str | None = None, *, progress: bool = True) -> Preferences:
        """The data, in any format that is read elsewhere.

        Raises:
            PlauditError: No source is named, or what `read_preferences` raises.
        """
        if source is None:
            raise PlauditError(
                "preference data are read from a source",
                where=f"--suite {self.name}",
                fix="Name it: --data PATH.",
            )
        return read_preferences(source, progress=progress)

    def score(self, items: Sequence[ScoredItem], *, ties: str = "zero") -> SuiteScores:
        """The accuracy by subset, their plain mean, and over all comparisons."""
        check_ties(ties)
        ordered = sorted(items, key=lambda item: item.group)
        names = sorted({_subset(item) for item in ordered if _decided(item)})
        cells = Cells()
        for name in names:
            _add(cells, f"subset {name}", [item for item in ordered if _subset(item) == name], ties)
        _add(cells, "accuracy", ordered, ties)
        return SuiteScores(
            suite=self.name,
            headline="accuracy",
            scores=(*_scores(cells, names, ties), *diagnostics(items), _data_ties(items)),
        )


def _subset(item: ScoredItem) -> str:
    return _NO_SUBSET if item.subset is None else item.subset


def _decided(item: ScoredItem) -> list[tuple[int, int]]:
    """Better and worse of each comparison that is no tie and has both rewards."""
    pairs = [(c.better, c.worse) for c in item.comparisons if not c.is_tie]
    return [(b, w) for b, w in pairs if np.isfinite(item.rewards[[b, w]]).all()]


def _add(cells: Cells, name: str, items: Sequence[ScoredItem], ties: str) -> None:
    values = [
        float(wins(item.rewards[b], item.rewards[w], ties)) for item in items for b, w in _decided(item)
    ]
    clusters = [same_prompt(item) for item in items for _ in _decided(item)]
    cells.add(name, values, clusters)


def _scores(cells: Cells, names: Sequence[str], ties: str) -> list[NamedScore]:
    scores = []
    if names != [_NO_SUBSET]:
        scores = [cells.score_cell(f"subset {name}", name=name, rule=pair_rule(ties)) for name in names]
        every = Section(name="mean over subsets", weights={f"subset {name}": 1.0 for name in names})
        scores.append(
            cells.score_combination(
                every.name, every.present(cells), rule="plain mean of the subsets' accuracies"
            )
        )
    return [*scores, cells.score_cell("accuracy", kind="average", rule=pair_rule(ties))]


def _data_ties(items: Sequence[ScoredItem]) -> NamedScore:
    return NamedScore(
        name="ties in the data",
        value=float(sum(c.is_tie for item in items for c in item.comparisons)),
        num_items=len(items),
        kind="diagnostic",
        rule="count of comparisons that the data call a tie; they are in no accuracy",
    )
