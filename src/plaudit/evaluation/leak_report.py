"""What was found of evaluation data in training data, and from when on something counts as found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_PROMPTS", "MIN_COMPLETION_WORDS", "LeakReport", "LeakedRow"]

MAX_PROMPTS = 10
"""Prompts of the evaluation data with which a run of words may stand before it is a template's (paper:
arXiv:2005.14165, appendix C, of documents)."""

MIN_COMPLETION_WORDS = 5
"""Words from which on an equal completion says something (assumed: "Yes." and "It is 12." are in every data set)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakedRow:
    """An evaluation row with something in the training data."""

    row: int
    """Its number in the evaluation data, from 0."""
    source: str
    """Where it was read."""
    subset: str | None
    """Its subset."""
    id: str | None
    """Its name."""
    is_prompt_equal: bool
    """Whether its whole prompt is a prompt of the training data."""
    num_completions_equal: int
    """Its completions of at least `MIN_COMPLETION_WORDS` words that are completions of the training data as a whole."""
    prompt_overlap: float
    """Share of its prompt's runs of 13 words that stand in the training data; NaN where it has none."""
    completion_overlap: float
    """The same for all its completions together."""
    found_in: str
    """The first training record that has something of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakReport:
    """What was found."""

    num_rows: int
    """Rows of the evaluation data."""
    num_training_rows: int
    """Records of the training data."""
    num_prompts_equal: int
    """Rows whose whole prompt is in the training data."""
    num_completions_equal: int
    """Rows with at least one whole completion in the training data."""
    num_overlapping: int
    """Rows with at least one run of 13 words in the training data."""
    num_too_short: int
    """Rows without any run of 13 words: only equal texts can be found there."""
    num_template_only: int
    """Rows of which every run of 13 words is a template's: likewise."""
    num_template_grams: int
    """Runs of words left out, since they stand with more than `MAX_PROMPTS` prompts."""
    num_completions_left_out: int
    """Completions that are not looked for as a whole: they have fewer than `MIN_COMPLETION_WORDS` words, or stand with
    more than `MAX_PROMPTS` prompts."""
    rows: tuple[LeakedRow, ...]
    """Every row with something, in order of the data."""
