"""The settings of ``plaudit train`` as help: RewardConfig's own fields and the most used of TrainingArguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from transformers import TrainingArguments

from plaudit.cli.settings import default_of, flag_of, setting_names
from plaudit.training import RewardConfig
from plaudit.training.guide import guide_rows

__all__ = ["print_all_settings", "print_settings"]

MOST_USED = {
    "per_device_train_batch_size": "Preference groups in a batch, on each device.",
    "gradient_accumulation_steps": "Batches in a step.",
    "num_train_epochs": "Times through the data.",
    "max_steps": "Steps, whatever the epochs; above 0.",
    "lr_scheduler_type": "linear, cosine, constant, constant_with_warmup, and others.",
    "warmup_steps": "Steps of warm-up; below 1: a share of all steps.",
    "weight_decay": "Decay of the weights.",
    "max_grad_norm": "Gradients are clipped to this norm; 0: not at all.",
    "optim": "Optimiser.",
    "adam_beta1": "Adam's decay of the gradient's mean.",
    "adam_beta2": "Adam's decay of the gradient's square.",
    "adam_epsilon": "Adam's guard against division by zero.",
    "fp16": "float16 autocast.",
    "eval_strategy": "no, steps or epoch; steps when there is something to evaluate on.",
    "eval_steps": "Steps between evaluations; below 1: a share of all steps (0.25 when nothing is said).",
    "save_strategy": "no, steps, epoch or best.",
    "save_steps": "Steps between checkpoints; below 1: a share of all steps.",
    "save_total_limit": "Checkpoints kept; older ones are removed.",
    "load_best_model_at_end": "End with the checkpoint that evaluated best.",
    "report_to": "wandb, tensorboard, mlflow, trackio, all or none.",
    "run_name": "The run's name there.",
    "seed": "Decides the head, the order of the data and what is held out.",
    "deepspeed": "A DeepSpeed configuration file.",
    "fsdp": "Shard over devices with FSDP.",
    "use_cpu": "Train on the CPU, whatever else there is.",
    "push_to_hub": "Upload the model to the hub.",
    "hub_model_id": "Its name there; the output folder's when nothing is said.",
}
"""Fields of TrainingArguments on the page, in our words: the library's differ between its versions."""

HIDDEN = ("output_dir", "do_train", "do_eval", "do_predict", "local_rank", "resume_from_checkpoint")
"""Fields without effect here, or given in another way."""


def print_settings(console: Console) -> None:
    """RewardConfig's own fields, then the most used others, then what is usual by size."""
    own = _own_fields()
    console.print(_panel("Settings of reward models", [(name, _help(name)) for name in own]))
    others = [(name, text) for name, text in MOST_USED.items() if name in setting_names()]
    console.print(_panel("Most used settings of transformers.TrainingArguments", others))
    console.print(_guide_panel())
    console.print(
        Text("All others: plaudit train --help-all. Booleans: --bf16 false. Nothing: --max-length none.")
    )


def print_all_settings(console: Console) -> None:
    """Every field."""
    own = _own_fields()
    others = [name for name in setting_names() if name not in own and name not in HIDDEN]
    console.print(_panel("Settings of reward models", [(name, _help(name)) for name in own]))
    named = [(name, MOST_USED.get(name) or _help(name)) for name in others]
    console.print(_panel("Settings of transformers.TrainingArguments", named))


def _own_fields() -> list[str]:
    """Fields that RewardConfig declares, those first that TrainingArguments does not have."""
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    declared = [name for name in RewardConfig.__annotations__ if name in setting_names()]
    return sorted(declared, key=lambda name: name in inherited)


def _help(name: str) -> str:
    (field,) = [field for field in dataclasses.fields(RewardConfig) if field.name == name]
    return " ".join(str(field.metadata.get("help") or "").split())


def _panel(title: str, entries: Sequence[tuple[str, str]]) -> Panel:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column()
    for name, text in entries:
        default = _shown(default_of(name))
        grid.add_row(
            flag_of(name), Text.assemble(text, " " if text else "", (f"[default: {default}]", "dim"))
        )
    return Panel(grid, title=title, title_align="left", border_style="dim")


def _guide_panel() -> Panel:
    """The hyperparameters that are usual by model size; a value far off is a warning."""
    header, *rows = guide_rows()
    grid = Table(*header, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        grid.add_row(*row)
    return Panel(grid, title="Usual by model size", title_align="left", border_style="dim")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "none"
