"""What ``plaudit train`` shows before and after: what goes in, and where everything is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from plaudit.preferences import Preferences
from plaudit.tokens import TokenTable
from plaudit.training import RewardTrainer

__all__ = ["evaluation_table", "print_end", "start_panel"]


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


def evaluation_table(trainer: RewardTrainer) -> Table | None:
    """The evaluations of the run by step; None where there was none."""
    history = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    if not history:
        return None
    table = Table("Epoch", "Step", "Validation Loss", "Accuracy", title="Evaluation", title_justify="left")
    for column in table.columns:
        column.justify = "right"
    for entry in {entry["step"]: entry for entry in history}.values():
        loss, accuracy = entry["eval_loss"], entry["eval_rm/accuracy"]
        table.add_row(f"{entry['epoch']:.2f}", f"{entry['step']:,}", f"{loss:.4f}", f"{accuracy:.4f}")
    return table


def print_end(console: Console, trainer: RewardTrainer, folder: Path) -> None:
    """The evaluations, where everything is, and what to do next."""
    table = evaluation_table(trainer)
    if table is not None:
        console.print(table)
    for name, text in (
        ("model", f"{folder}  (plain transformers: AutoModelForSequenceClassification)"),
        ("metrics", str(folder / "all_results.json")),
        ("settings", str(folder / "run.yaml")),
        ("next", f"plaudit eval {folder} --data <comparisons it has not seen>"),
    ):
        console.print(Text.assemble((f"{name:10}", "bold"), text), soft_wrap=True)


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
