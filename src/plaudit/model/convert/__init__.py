"""Conversion of reward models between formats: streamed, whole or not at all, and proven by their rewards."""

from plaudit.model.convert.conversion import Conversion, convert_checkpoint
from plaudit.model.convert.targets import BIASES, TARGETS, VALUE_HEAD_FORMATS

__all__ = ["BIASES", "TARGETS", "VALUE_HEAD_FORMATS", "Conversion", "convert_checkpoint"]
