"""What is said of models against each other: per suite, per subset, for each pair of them."""

from __future__ import annotations

from dataclasses import dataclass

from plaudit.evaluation.shared_rows import NotShared, SharedRows
from plaudit.objective.intervals import Estimate

__all__ = ["ALPHA", "ModelComparison", "PairDifference", "SuiteComparison"]

ALPHA = 0.05
"""Level at which a difference is called one, after correction (a convention of the field)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairDifference:
    """Two models on the same comparisons of a suite, or of one of its subsets."""

    suite: str
    """The suite."""
    subset: str | None
    """The subset; None for the whole suite, "" for comparisons that name no subset."""
    first: str
    """Name of the first model."""
    second: str
    """Name of the second."""
    num_prompts: int
    """Distinct prompts among the comparisons."""
    accuracy_first: float
    """Share of the comparisons that the first gets right."""
    accuracy_second: float
    """Share that the second gets right."""
    difference: Estimate
    """Second less first, with its interval over prompts; its n counts the comparisons. The interval is of this
    difference alone: it is not widened for the number of tests."""
    num_only_first: int
    """Comparisons that the first gets right and the second does not; where equal rewards count half, those of which
    the first gets more."""
    num_only_second: int
    """The other way round."""
    same_choice: float
    """Share in which both prefer the same completion, or neither prefers one."""
    agreement: float
    """Krippendorff's alpha of their choices, chance agreement being 1/2; NaN where it is not defined."""
    test: str
    """The test: `PairedTest.method`."""
    p_value: float
    """Chance of a difference at least as large if the models were equally good; not corrected."""
    adjusted_p: float
    """After Holm's correction over the family."""

    @property
    def is_significant(self) -> bool:
        """Whether the adjusted p is below `ALPHA`."""
        return self.adjusted_p < ALPHA


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteComparison:
    """All models on one suite."""

    suite: str
    """The suite."""
    models: tuple[str, ...]
    """The models that have it, in the order given."""
    shared: SharedRows
    """The comparisons that they share."""
    not_shared: tuple[NotShared, ...]
    """For each model what it alone, or not every other, has."""
    num_data_ties: int
    """Shared comparisons that the data of a model call a tie: in no accuracy."""
    headline: str | None
    """The score by which the suite's leaderboard ranks; None for data without a rule of their own, and where the
    models' results name different scores or count equal rewards differently."""
    headline_values: tuple[float, ...]
    """It for each model, on all rows that the model has; empty without one. The tests here are of comparisons, which a
    suite's own rule may count otherwise."""
    whole: tuple[PairDifference, ...]
    """Each pair of models on all of it."""
    subsets: tuple[PairDifference, ...]
    """Each pair on each subset, in order of appearance; empty where there is one subset at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelComparison:
    """Models against each other."""

    models: tuple[str, ...]
    """Their names, all different, in the order given."""
    ties: str
    """What equal rewards count for."""
    suites: tuple[SuiteComparison, ...]
    """Each suite that at least two models have."""
    suites_of_one: tuple[tuple[str, str], ...]
    """Suites that one model alone has, as (suite, model): nothing can be compared there."""
