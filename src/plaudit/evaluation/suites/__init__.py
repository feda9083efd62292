"""Benchmarks for reward models, each by its exact rule: `find_suite`, `items_of`, and what a suite says."""

from plaudit.evaluation.suites.items import GroupTable, ScoredItem, items_of
from plaudit.evaluation.suites.preference_data import PreferenceData
from plaudit.evaluation.suites.registry import SUITES, across_suites, find_suite
from plaudit.evaluation.suites.scores import KINDS, NamedScore, SuiteScores
from plaudit.evaluation.suites.source import SuitePart
from plaudit.evaluation.suites.suite import Benchmark, Suite

__all__ = [
    "KINDS",
    "SUITES",
    "Benchmark",
    "GroupTable",
    "NamedScore",
    "PreferenceData",
    "ScoredItem",
    "Suite",
    "SuitePart",
    "SuiteScores",
    "across_suites",
    "find_suite",
    "items_of",
]
