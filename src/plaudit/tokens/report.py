"""What tokenising kept and lost, as sums that add up, and in plain English.

For every count: what went in equals what came out plus what was dropped, by reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plaudit.tokens.limits import DROP_REASONS, LengthLimits

__all__ = ["REPORT_COLUMNS", "DroppedGroups", "TokenReport", "report_of_columns"]

REPORT_COLUMNS = (
    "drop_reason",
    "num_truncated_tokens",
    "max_sequence_tokens",
    "num_tokens",
    "num_completions_in",
    "num_completions_too_long",
    "num_completions_identical",
    "num_comparisons_in",
    "num_comparisons_too_long",
    "num_comparisons_identical",
    "num_longest_tokens",
    "num_prompt_tokens_in",
)
"""The columns that `report_of_columns` reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DroppedGroups:
    """The groups dropped for one reason."""

    reason: str
    """One of `limits.DROP_REASONS`."""
    num_groups: int
    """How many."""
    num_longest_tokens: int
    """Their longest sequence, before any cut; their longest prompt where the prompt is the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenReport:
    """Counts of groups, completions, comparisons and tokens, before and after the limits."""

    limits: LengthLimits
    """The limits in force."""
    num_groups_in: int
    """Preference groups read."""
    num_groups_out: int
    """Token groups left."""
    dropped: tuple[DroppedGroups, ...]
    """The difference, by reason; reasons that dropped none are left out."""
    num_completions_in: int
    """Completions read."""
    num_completions_too_long: int
    """Completions dropped for their length or their prompt's."""
    num_completions_identical: int
    """Completions merged into another of the same ids."""
    num_comparisons_in: int
    """Comparisons read."""
    num_comparisons_out: int
    """Comparisons left."""
    num_comparisons_too_long: int
    """Comparisons lost because one of the two completions was too long."""
    num_comparisons_identical: int
    """Comparisons lost because the two completions are the same ids."""
    num_truncated_groups: int
    """Groups whose prompt was cut."""
    num_truncated_tokens: int
    """Prompt tokens cut, counted once per group."""
    num_tokens: int
    """Tokens of all sequences left."""
    max_length: int
    """Tokens of the longest sequence left; 0 when none is."""
    median_length: float
    """Median over the groups left of the longest sequence's tokens; NaN when none is left."""
    p95_length: float
    """95th percentile of the same."""

    def summary(self) -> list[str]:
        """The report as sentences: one on what is left, and one on each kind of loss that happened."""
        lines = [
            f"{self.num_groups_out:,} of {self.num_groups_in:,} groups, {self.num_comparisons_out:,} of "
            f"{self.num_comparisons_in:,} comparisons, {self.num_tokens:,} tokens; "
            f"longest sequence of a group: median {self.median_length:,.0f}, "
            f"95% within {self.p95_length:,.0f}, at most {self.max_length:,} tokens"
        ]
        for dropped in self.dropped:
            lines.append(
                f"{dropped.num_groups:,} of {self.num_groups_in:,} groups {_explain(dropped, self.limits)}"
            )
        if self.num_completions_too_long:
            lines.append(
                f"{self.num_completions_too_long:,} of {self.num_completions_in:,} completions dropped as "
                f"over-length, and {self.num_comparisons_too_long:,} comparisons with them"
            )
        if self.num_completions_identical:
            lines.append(
                f"{self.num_completions_identical:,} of {self.num_completions_in:,} completions are the same "
                f"tokens as another of their group; {self.num_comparisons_identical:,} comparisons between "
                "such teach nothing, and training drops them"
            )
        if self.num_truncated_groups:
            lines.append(
                f"{self.num_truncated_groups:,} of {self.num_groups_in:,} prompts cut from the left, by "
                f"{self.num_truncated_tokens:,} tokens together"
            )
        return lines

    @property
    def num_dropped_groups(self) -> int:
        """Groups lost, whatever the reason."""
        return self.num_groups_in - self.num_groups_out


def report_of_columns(columns: Mapping[str, np.ndarray], limits: LengthLimits) -> TokenReport:
    """The report over rows given as columns.

    Args:
        columns: `REPORT_COLUMNS`, each an array [num_groups]; `drop_reason` is None for a group that is left.
        limits: The limits in force.
    """
    reasons = columns["drop_reason"]
    is_left = np.array([reason is None for reason in reasons], dtype=np.bool_)
    total = {name: int(columns[name].sum()) for name in REPORT_COLUMNS if name != "drop_reason"}
    lengths = columns["max_sequence_tokens"][is_left]
    return TokenReport(
        limits=limits,
        num_groups_in=len(is_left),
        num_groups_out=int(is_left.sum()),
        dropped=tuple(
            _dropped(reason, columns, reasons == reason)
            for reason in DROP_REASONS
            if (reasons == reason).any()
        ),
        num_completions_in=total["num_completions_in"],
        num_completions_too_long=total["num_completions_too_long"],
        num_completions_identical=total["num_completions_identical"],
        num_comparisons_in=total["num_comparisons_in"],
        num_comparisons_out=total["num_comparisons_in"]
        - total["num_comparisons_too_long"]
        - total["num_comparisons_identical"],
        num_comparisons_too_long=total["num_comparisons_too_long"],
        num_comparisons_identical=total["num_comparisons_identical"],
        num_truncated_groups=int((columns["num_truncated_tokens"] > 0).sum()),
        num_truncated_tokens=total["num_truncated_tokens"],
        num_tokens=total["num_tokens"],
        max_length=int(lengths.max(initial=0)),
        median_length=float(np.median(lengths)) if len(lengths) else float("nan"),
        p95_length=float(np.percentile(lengths, 95)) if len(lengths) else float("nan"),
    )


def _dropped(reason: str, columns: Mapping[str, np.ndarray], where: np.ndarray) -> DroppedGroups:
    measured = "num_prompt_tokens_in" if reason == "prompt-too-long" else "num_longest_tokens"
    longest = int(columns[measured][where].max())
    return DroppedGroups(reason=reason, num_groups=int(where.sum()), num_longest_tokens=longest)


def _explain(dropped: DroppedGroups, limits: LengthLimits) -> str:
    """What becomes of them and why; of equal completions an evaluation counts what training drops."""
    longest = f"(longest {dropped.num_longest_tokens:,} tokens)"
    if dropped.reason == "too-long":
        what = "a completion alone" if limits.on_overlength == "truncate-prompt" else "a sequence"
        return f"dropped: {what} exceeds max_length {limits.max_length:,} {longest}"
    if dropped.reason == "prompt-too-long":
        return f"dropped: the prompt exceeds max_prompt_length {limits.max_prompt_length:,} {longest}"
    if dropped.reason == "identical":
        return "teach nothing, and training drops them: their completions are the same tokens"
    return "dropped: no two completions are compared"
