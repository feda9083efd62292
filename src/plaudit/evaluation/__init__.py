"""How good rewards are: `evaluate` on preference data, its statistics and stored rows, best of n."""

from plaudit.evaluation.bestofn import BestOfNCurve, BestOfNPoint, best_of_n_kl, expected_best_of_n
from plaudit.evaluation.calibration import Calibration, CalibrationBin
from plaudit.evaluation.evaluate import evaluate
from plaudit.evaluation.folder import Evaluation, StoredSuite, find_evaluations, read_evaluation
from plaudit.evaluation.length import Correlation, LengthBias
from plaudit.evaluation.metrics import TIE_RULES, EvaluationMetrics, SubsetMetrics, compute_metrics
from plaudit.evaluation.plan import EvaluationPlan, plan_evaluation
from plaudit.evaluation.result import EvaluatedData, EvaluationResult, Throughput
from plaudit.evaluation.reward_source import RewardSource, SequenceScorer
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.run import EvaluationRun, evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.evaluation.storage import ROWS_SCHEMA, read_rows, write_rows

__all__ = [
    "ROWS_SCHEMA",
    "TIE_RULES",
    "BestOfNCurve",
    "BestOfNPoint",
    "Calibration",
    "CalibrationBin",
    "ComparisonRows",
    "Correlation",
    "EvaluatedData",
    "Evaluation",
    "EvaluationMetrics",
    "EvaluationPlan",
    "EvaluationResult",
    "EvaluationRun",
    "EvaluationSet",
    "LengthBias",
    "RewardSource",
    "SequenceScorer",
    "StoredSuite",
    "SubsetMetrics",
    "Throughput",
    "best_of_n_kl",
    "compute_metrics",
    "evaluate",
    "evaluate_suites",
    "expected_best_of_n",
    "find_evaluations",
    "plan_evaluation",
    "read_evaluation",
    "read_rows",
    "write_rows",
]
