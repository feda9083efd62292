"""Scoring: the one inference path, for a prompt, for many sequences and for files."""

from plaudit.scoring.ensemble import EnsembleScorer
from plaudit.scoring.scorer import Scorer

__all__ = ["EnsembleScorer", "Scorer"]
