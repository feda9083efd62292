"""Objectives and metrics: rewards to unreduced loss terms, and to sums and counts."""

from plaudit.objective.bradley_terry import bradley_terry
from plaudit.objective.intervals import bootstrap_interval, wilson_interval
from plaudit.objective.metrics import PairSums
from plaudit.objective.terms import LossTerms

__all__ = ["LossTerms", "PairSums", "bootstrap_interval", "bradley_terry", "wilson_interval"]
