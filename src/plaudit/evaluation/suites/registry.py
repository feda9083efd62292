"""The suites by name, and the one score that needs two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from plaudit.errors import unknown_choice
from plaudit.evaluation.suites.judgebench import JudgeBench
from plaudit.evaluation.suites.llmbar import LLMBar
from plaudit.evaluation.suites.ppe import PPE
from plaudit.evaluation.suites.prior_sets import PRIOR_MEAN, PriorSets
from plaudit.evaluation.suites.rewardbench import WITH_PRIOR_SETS, RewardBench, mean_with_prior_sets
from plaudit.evaluation.suites.rewardbench2 import RewardBench2
from plaudit.evaluation.suites.rm_bench import RMBench
from plaudit.evaluation.suites.rmb import RMB
from plaudit.evaluation.suites.scores import SuiteScores
from plaudit.evaluation.suites.suite import Suite
from plaudit.evaluation.suites.ufb import UFB

__all__ = ["SUITES", "across_suites", "find_suite"]

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        RewardBench(),
        PriorSets(),
        RewardBench2(),
        RMBench(),
        JudgeBench(),
        RMB(),
        PPE(),
        UFB(),
        LLMBar(),
    )
}
"""Every suite by its name on the command line. Any other data: `plaudit.evaluation.suites.PreferenceData`."""


def find_suite(name: str) -> Suite:
    """The suite of this name.

    Raises:
        PlauditError: There is none; those that there are, are listed.
    """
    if name not in SUITES:
        raise unknown_choice("--suite", name, list(SUITES))
    return SUITES[name]


def across_suites(scores: Mapping[str, SuiteScores]) -> dict[str, SuiteScores]:
    """The scores of one model's suites, with those filled in that need another suite.

    RewardBench's average with the prior sets is the only one.

    Args:
        scores: By the suite's name, `SuiteScores.suite`.
    """
    found = dict(scores)
    if RewardBench.name in found and PriorSets.name in found:
        main, prior = found[RewardBench.name], found[PriorSets.name]
        mean = mean_with_prior_sets(main["section mean"], prior[PRIOR_MEAN])
        together = tuple(mean if score.name == WITH_PRIOR_SETS else score for score in main.scores)
        found[RewardBench.name] = replace(main, scores=together)
    return found
