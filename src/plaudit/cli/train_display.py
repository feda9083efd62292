"""What ``plaudit train`` shows before and after: what goes in, and where everything is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from plaudit.preferences import Preferences
from plaudit.tokens import TokenTable
from plaudit.training import RewardTrainer

__all__ = ["evaluation_table", "print_end", "start_panel"]

FILES = (
    ("card", "README.md"),
    ("curves", "curves.png"),
    ("metrics", "metrics.jsonl"),
    ("results", "all_results.json"),
    ("record", "run.json"),
    ("settings", "run.yaml"),
)
"""Files of the output folder, with what they are."""


def start_panel(trainer: RewardTrainer, parts: Sequence[Preferences], checkpoint: Path | None) -> Panel:
    """Model, attention, data, tokens and steps of a run that is about to start."""
    model = trainer._reward_model()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    grid.add_row("model", Text(f"{trainer.base_model_name}: {model.origin}"))
    grid.add_row("attention", Text(f"{model.attention_backend} ({model.attention_reason})"))
    grid.add_row("training data", Text(parts[0].report.summary()))
    grid.add_row("tokens", Text(_tokens(trainer.train_groups)))
    if len(parts) > 1:
        grid.add_row("evaluation data", Text(_evaluation_data(parts[0], parts[1])))
        grid.add_row("tokens", Text(_tokens(trainer.eval_dataset)))
    grid.add_row("steps", Text(_steps(trainer)))
    if checkpoint is not None:
        grid.add_row("goes on from", Text(str(checkpoint)))
    return Panel(grid, title="plaudit train", title_align="left", border_style="dim")


def evaluation_table(history: Sequence[Mapping[str, Any]]) -> Table | None:
    """The evaluations of a run by step; None where there was none.

    Args:
        history: What was logged, as in ``trainer.state.log_history``.
    """
    by_step = {entry["step"]: entry for entry in history if "eval_loss" in entry}
    if not by_step:
        return None
    table = Table("Epoch", "Step", "Validation Loss", "Accuracy", title="Evaluation", title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for entry in by_step.values():
        # Ratings alone have no accuracy.
        accuracy = entry.get("eval_rm/accuracy", math.nan)
        table.add_row(
            f"{entry['epoch']:.4f}",
            str(entry["step"]),
            f"{entry['eval_loss']:.4f}",
            "none" if math.isnan(accuracy) else f"{accuracy:.2%}",
        )
    return table


def print_end(console: Console, history: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """The evaluations, where everything is, and what to do next.

    Args:
        console: Where to.
        history: What was logged, as in ``trainer.state.log_history``.
        folder: The output folder.
    """
    table = evaluation_table(history)
    if table is not None:
        console.print(table)
    what_next = f"plaudit eval {folder} --data <comparisons it has not seen>"
    for name, text in (*_whereabouts(folder), ("next", what_next)):
        console.print(Text.assemble((f"{name:10}", "bold"), text), soft_wrap=True)


def _whereabouts(folder: Path) -> Iterator[tuple[str, str]]:
    """What a run left behind and where, of those that are there."""
    adapter = (folder / "adapter_config.json").is_file()
    kind = (
        "an adapter: peft, or plaudit"
        if adapter
        else "plain transformers: AutoModelForSequenceClassification"
    )
    yield "model", f"{folder}  ({kind})"
    for name, file in FILES:
        if (folder / file).is_file():
            yield name, str(folder / file)


def _evaluation_data(train: Preferences, evaluation: Preferences) -> str:
    report = evaluation.report
    if report.sources != train.report.sources:
        return report.summary()
    return f"{report.num_groups:,} groups of the same source, held out by prompt"


def _tokens(groups: object) -> str:
    return "\n".join(groups.report.summary()) if isinstance(groups, TokenTable) else "read as they come"


def _steps(trainer: RewardTrainer) -> str:
    args = trainer.args
    values = trainer.set_initial_training_values(args, trainer.get_train_dataloader())
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    epochs = f"{args.num_train_epochs:g} epochs" if args.max_steps <= 0 else "as many epochs as that takes"
    return f"{values[-1]:,} of {batch:,} groups each, {epochs}"
