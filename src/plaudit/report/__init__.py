"""Evaluation results for people and machines: one self-contained page, Markdown for a model card, JSON, leaderboard."""

from plaudit.report.contents import REPORT_SCHEMA_VERSION, report_contents
from plaudit.report.leaderboard import LEADERBOARD_SCHEMA_VERSION, leaderboard_contents, read_runs
from plaudit.report.outputs import ModelOutput, read_outputs
from plaudit.report.writing import FORMATS, ReportOptions, leaderboard_text, report_text

__all__ = [
    "FORMATS",
    "LEADERBOARD_SCHEMA_VERSION",
    "REPORT_SCHEMA_VERSION",
    "ModelOutput",
    "ReportOptions",
    "leaderboard_contents",
    "leaderboard_text",
    "read_outputs",
    "read_runs",
    "report_contents",
    "report_text",
]
