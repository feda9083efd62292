"""A table of sample comparisons at each evaluation: what the model saw, what it gave, whether it was right."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plaudit.tokens import Renderer
from plaudit.training.evaluation import GroupRewards

__all__ = ["print_samples", "sample_table"]

MAX_CHARACTERS = 240
"""Longest text shown in a cell (assumed: what one reads)."""


def print_samples(scored: GroupRewards, renderer: Renderer, num_rows: int) -> None:
    """Print the first comparisons of an evaluation set to standard error; the same ones each time."""
    if num_rows > 0 and scored.num_groups:
        Console(file=sys.stderr).print(sample_table(scored, renderer, num_rows))


def sample_table(scored: GroupRewards, renderer: Renderer, num_rows: int) -> Table:
    """One row per comparison: end of the shared prompt, the two responses, their rewards, correct or not."""
    table = Table("prompt (shared)", "chosen", "rejected", "reward", "correct", show_lines=True)
    for index in range(min(num_rows, scored.num_groups)):
        group, rewards = scored.groups[index], scored.rewards[index]
        if not len(group.better):
            continue
        better, worse = int(group.better[0]), int(group.worse[0])
        texts = [group.sequences[better], group.sequences[worse]]
        prompt = renderer.decode(texts[0][: group.num_prompt_tokens])
        chosen, rejected = (renderer.decode(ids[group.num_prompt_tokens :]) for ids in texts)
        difference = float(rewards[better] - rewards[worse])
        verdict = "tie in the data" if group.is_tie[0] else ("yes" if difference > 0 else "no")
        table.add_row(
            Text(_end(prompt)),
            Text(_start(chosen)),
            Text(_start(rejected)),
            f"{rewards[better]:.3f}\n{rewards[worse]:.3f}",
            verdict,
        )
    return table


def _start(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " …"


def _end(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else "… " + text[-MAX_CHARACTERS:]
