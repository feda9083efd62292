"""Objectives and metrics: rewards to unreduced loss terms, and to sums and counts."""

from plaudit.objective.attributes import AttributeRegression
from plaudit.objective.binary_cross_entropy import BinaryCrossEntropy
from plaudit.objective.bradley_terry import BradleyTerry
from plaudit.objective.centering import Centering
from plaudit.objective.choice import OBJECTIVES, choose_objective
from plaudit.objective.davidson import Davidson
from plaudit.objective.intervals import bootstrap_interval, wilson_interval
from plaudit.objective.judgements import Judgements, Prediction
from plaudit.objective.metrics import PairSums
from plaudit.objective.mixture import Mixture
from plaudit.objective.plackett_luce import PlackettLuce
from plaudit.objective.ranking import rank_completions
from plaudit.objective.rao_kupper import RaoKupper
from plaudit.objective.regression import Regression
from plaudit.objective.terms import LossTerms, Objective

__all__ = [
    "OBJECTIVES",
    "AttributeRegression",
    "BinaryCrossEntropy",
    "BradleyTerry",
    "Centering",
    "Davidson",
    "Judgements",
    "LossTerms",
    "Mixture",
    "Objective",
    "PairSums",
    "PlackettLuce",
    "Prediction",
    "RaoKupper",
    "Regression",
    "bootstrap_interval",
    "choose_objective",
    "rank_completions",
    "wilson_interval",
]
