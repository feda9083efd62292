"""What a suite says of a model: named numbers, each with its n, its interval and the sentence that defines it.

Guarantees: ``from_dict(to_dict(scores))`` gives equal scores; what ``to_dict`` gives is strict JSON, a number that
is not defined is null there and NaN here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["KINDS", "NamedScore", "SuiteScores"]

KINDS = ("subset", "section", "average", "diagnostic")
"""What a score is of: one subset of the data, several of them, the whole suite, or something beside the scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedScore:
    """One number of a suite."""

    name: str
    """As the suite's leaderboard calls it; no two scores of a suite have the same."""
    value: float
    """Accuracies and the like are in [0, 1]; NaN where nothing could be computed."""
    num_items: int
    """Items that it was computed from."""
    kind: str
    """One of `KINDS`."""
    rule: str
    """How it is computed, as one sentence."""
    low: float | None = None
    """Lower end of the 95% interval; None where there is none."""
    high: float | None = None
    """Upper end."""
    interval: str = "none"
    """How the interval was made: ``wilson``, ``wilson over prompts``, ``bootstrap over prompts``,
    ``delta method`` or ``none``."""
    note: str | None = None
    """What is missing or odd about it on these data, such as subsets that are absent."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: _to_json(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NamedScore:
        """The inverse of `to_dict`; keys of a later version are left out."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**{**known, "value": math.nan if known["value"] is None else known["value"]})


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteScores:
    """All scores of one model on one suite, in the order in which they are printed."""

    suite: str
    """The suite's name."""
    headline: str
    """The name of the score by which the suite's leaderboard ranks."""
    scores: tuple[NamedScore, ...]
    """Subsets, sections, averages, diagnostics."""

    def __getitem__(self, name: str) -> NamedScore:
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(f"{self.suite} has no score {name!r}; it has {[score.name for score in self.scores]}")

    @property
    def headline_score(self) -> NamedScore:
        """The score that ``headline`` names."""
        return self[self.headline]

    def of_kind(self, kind: str) -> tuple[NamedScore, ...]:
        """The scores of one kind, in their order."""
        return tuple(score for score in self.scores if score.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        scores = [score.to_dict() for score in self.scores]
        return {"suite": self.suite, "headline": self.headline, "scores": scores}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SuiteScores:
        """The inverse of `to_dict`."""
        scores = tuple(NamedScore.from_dict(score) for score in values["scores"])
        return cls(suite=values["suite"], headline=values["headline"], scores=scores)


def _to_json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
