"""Sample comparisons of an evaluation: what the model saw, what it gave, whether it was right.

The rows are collected once; the terminal, the trackers and the model card show the same ones.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plaudit.tokens import Renderer
from plaudit.training.evaluation import GroupRewards

__all__ = ["SampleRow", "collect_samples", "print_samples", "table_of_samples"]

MAX_CHARACTERS = 240
"""Longest text shown in a cell (assumed: what one reads)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRow:
    """One comparison with its rewards; texts are cut to `MAX_CHARACTERS`."""

    prompt_end: str
    """The end of the shared prompt, as rendered."""
    chosen: str
    """The beginning of the better completion; of the first one where the data call it a tie."""
    rejected: str
    """The beginning of the other one."""
    reward_chosen: float
    """Raw reward of the better completion."""
    reward_rejected: float
    """Raw reward of the other one."""
    verdict: str
    """``yes`` (the better one has the higher reward), ``no``, or ``tie in the data``."""


def collect_samples(scored: GroupRewards, renderer: Renderer, num_rows: int) -> list[SampleRow]:
    """The first comparison of each of the first groups; the same ones at each evaluation."""
    rows: list[SampleRow] = []
    for index in range(min(num_rows, scored.num_groups)):
        group, rewards = scored.groups[index], scored.rewards[index]
        if not len(group.better):
            continue
        better, worse = int(group.better[0]), int(group.worse[0])
        texts = [group.sequences[better], group.sequences[worse]]
        prompt = renderer.decode(texts[0][: group.num_prompt_tokens])
        chosen, rejected = (renderer.decode(ids[group.num_prompt_tokens :]) for ids in texts)
        is_right = float(rewards[better]) > float(rewards[worse])
        rows.append(
            SampleRow(
                prompt_end=_end(prompt),
                chosen=_start(chosen),
                rejected=_start(rejected),
                reward_chosen=float(rewards[better]),
                reward_rejected=float(rewards[worse]),
                verdict="tie in the data" if group.is_tie[0] else ("yes" if is_right else "no"),
            )
        )
    return rows


def print_samples(rows: Sequence[SampleRow]) -> None:
    """Print sample comparisons to standard error."""
    Console(file=sys.stderr).print(table_of_samples(rows))


def table_of_samples(rows: Sequence[SampleRow]) -> Table:
    """One row per comparison: end of the shared prompt, the two responses, their rewards, correct or not."""
    table = Table("prompt (shared)", "chosen", "rejected", "reward", "correct", show_lines=True)
    for row in rows:
        table.add_row(
            Text(row.prompt_end),
            Text(row.chosen),
            Text(row.rejected),
            f"{row.reward_chosen:.3f}\n{row.reward_rejected:.3f}",
            row.verdict,
        )
    return table


def _start(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " …"


def _end(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else "… " + text[-MAX_CHARACTERS:]
