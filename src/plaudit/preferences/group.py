"""The preference group: one prompt, K completions, and what is known about them.

Every format that plaudit reads ends here, and everything later starts from here. A pair of a chosen and a
rejected answer is the group with K = 2 and one comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Comparison", "Completion", "Message", "PreferenceGroup", "Prompt"]

Message: TypeAlias = Mapping[str, Any]
"""One turn: ``role`` and ``content``, and whatever else the chat template reads (``tool_calls``, ``name``)."""

Prompt: TypeAlias = str | tuple[Message, ...]
"""Plain text, or the messages so far."""

Completion: TypeAlias = str | tuple[Message, ...]
"""Plain text, or the messages that answer the prompt (one assistant turn, as a rule)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One judgement between two completions of a group."""

    better: int
    """Index of the preferred completion in the group."""
    worse: int
    """Index of the other one. In a tie the order of the two says nothing."""
    margin: float = 0.0
    """How much better, in units of reward; 0 when nothing is said."""
    weight: float = 1.0
    """How much this judgement counts in the loss; above 0."""
    is_tie: bool = False
    """Whether the two were judged equally good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceGroup:
    """One prompt, K completions, and the comparisons, ratings and attributes known about them."""

    prompt: Prompt
    """What was asked. Text and messages do not mix: completions have the form of the prompt."""
    completions: tuple[Completion, ...]
    """The K answers, K >= 2 where there are comparisons."""
    comparisons: tuple[Comparison, ...] = ()
    """The judgements, by index into ``completions``."""
    ratings: tuple[float | None, ...] | None = None
    """One number per completion, higher is better, in the source's own unit; None where unknown."""
    attributes: tuple[tuple[float | None, ...], ...] | None = None
    """[K][A]: for each completion its A rated attributes, in the order of the names that were asked for, in the
    source's own unit; None where unknown, and None as a whole where nothing is known."""
    tools: tuple[Mapping[str, Any], ...] | None = None
    """Tool schemas that the chat template renders."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the chat template."""
    subset: str | None = None
    """The part of the data set it belongs to, for tables."""
    id: str | None = None
    """The record's own name in its source."""
    source: str = ""
    """Where it was read: ``file:line`` or ``dataset[split]:row``."""

    @property
    def is_conversational(self) -> bool:
        """Whether prompt and completions are messages rather than text."""
        return not isinstance(self.prompt, str)
