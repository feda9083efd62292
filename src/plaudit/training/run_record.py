"""``run.json``: how a training run was started, with what, on what, and how it ended.

Written when the run starts, so that a run that was killed has one too, and again when it ends. It goes to the hub with
the weights: no access token is in it, and of the machine only what decides results.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from plaudit.errors import PlauditError
from plaudit.model.record import installed_versions
from plaudit.plain_json import as_plain, hide_tokens, is_secret, write_json
from plaudit.training.data_record import DataRecord
from plaudit.training.model_facts import ModelFacts

__all__ = [
    "RUN_RECORD_FILE",
    "RunRecord",
    "command_line",
    "describe_machine",
    "finish_run",
    "read_run_record",
    "run_settings",
    "start_run",
]

RUN_RECORD_FILE = "run.json"
FORMAT = 1

ALSO_VERSIONS = ("peft", "bitsandbytes", "deepspeed", "liger-kernel", "numpy")
"""Packages beside those of `installed_versions` that may decide a result, where they are installed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """A training run in numbers; what only its end knows is None until `finish_run`."""

    command: str
    """The command line, or ``python`` where there was none; secrets replaced."""
    started: str
    """When, in UTC (ISO 8601)."""
    model: ModelFacts
    """What was trained."""
    settings: Mapping[str, Any]
    """All fields of RewardConfig as plain values, secrets left out."""
    versions: Mapping[str, str]
    """Packages and Python."""
    machine: Mapping[str, Any]
    """See `describe_machine`."""
    train_data: DataRecord | None = None
    """What it was trained on."""
    eval_data: Mapping[str, DataRecord] = field(default_factory=dict)
    """What it was evaluated on, by name; a single set has the name ``eval``."""
    resumed_from_step: int | None = None
    """The step of the checkpoint that this process went on from; ``wall_time_s`` counts from there."""
    ended: str | None = None
    """When, in UTC (ISO 8601)."""
    num_steps: int | None = None
    """Optimiser steps done."""
    num_epochs: float | None = None
    """Times through the data."""
    num_episodes: int | None = None
    """Comparisons (or rated completions) trained on, each as often as it was."""
    saved_step: int | None = None
    """The step of the saved weights: the last one, or the best checkpoint's."""
    num_tokens: int | None = None
    """Tokens computed in training, over all processes."""
    num_given_tokens: int | None = None
    """Tokens of all sequences, had each been computed by itself."""
    wall_time_s: float | None = None
    """Seconds of this process's training, evaluations included."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The final metrics."""

    @property
    def tokens_saved(self) -> float | None:
        """The share of tokens that did not have to be computed, since sequences share beginnings."""
        if not self.num_given_tokens or self.num_tokens is None:
            return None
        return 1 - self.num_tokens / self.num_given_tokens

    def write(self, folder: str | Path) -> Path:
        """Write ``run.json`` into a folder, whole or not at all."""
        path = Path(folder) / RUN_RECORD_FILE
        write_json(path, {"format": FORMAT} | as_plain(self) | {"tokens_saved": self.tokens_saved})
        return path


def start_run(
    *,
    settings: Mapping[str, Any],
    model: ModelFacts,
    machine: Mapping[str, Any],
    train_data: DataRecord | None = None,
    eval_data: Mapping[str, DataRecord] | None = None,
    command: str | None = None,
    resumed_from_step: int | None = None,
) -> RunRecord:
    """The record of a run that starts now.

    Args:
        settings: `run_settings` of the configuration.
        model: What is trained.
        machine: `describe_machine`.
        train_data, eval_data: `data_record` of each data set.
        command: What started it; None takes this process's `command_line`.
        resumed_from_step: The step of the checkpoint it goes on from, if any.
    """
    return RunRecord(
        command=command_line() if command is None else command,
        started=_now(),
        model=model,
        settings=settings,
        versions=_versions(),
        machine=machine,
        train_data=train_data,
        eval_data=eval_data or {},
        resumed_from_step=resumed_from_step,
    )


def finish_run(record: RunRecord, **outcome: Any) -> RunRecord:
    """The record with what the end of the run knows.

    Args:
        record: The one that `start_run` gave.
        outcome: Fields of RunRecord: ``num_steps``, ``num_epochs``, ``num_episodes``, ``saved_step``, ``num_tokens``,
            ``num_given_tokens``, ``wall_time_s``, ``metrics``, ``train_data`` and
            ``eval_data`` (of a stream, known at the end only).
    """
    return replace(record, ended=_now(), **outcome)


def read_run_record(folder: str | Path) -> RunRecord:
    """The record in a run's folder.

    Raises:
        PlauditError: There is none, or it is damaged or of a newer plaudit.
    """
    path = Path(folder) / RUN_RECORD_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise PlauditError("written by a newer plaudit", where=str(path), fix="Upgrade plaudit.")
        known = {f.name: values[f.name] for f in fields(RunRecord)}
        known["model"] = ModelFacts.from_json(values["model"])
        if values["train_data"] is not None:
            known["train_data"] = DataRecord.from_json(values["train_data"])
        known["eval_data"] = {name: DataRecord.from_json(data) for name, data in values["eval_data"].items()}
        return RunRecord(**known)
    except OSError as error:
        fix = "Give the output folder of a training run."
        raise PlauditError(f"no run record ({error.strerror})", where=str(path), fix=fix) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlauditError(f"damaged ({error})", where=str(path), fix="Copy the run again.") from error


def run_settings(config: Any) -> dict[str, Any]:
    """All fields of a configuration (a dataclass, such as RewardConfig) as plain values, secrets left out."""
    return as_plain({f.name: getattr(config, f.name) for f in fields(config)})


def command_line(words: Sequence[str] | None = None) -> str:
    """The command line as one would type it, secrets replaced by ``***``; ``python`` outside a script.

    >>> command_line(["/usr/bin/plaudit", "train", "--hub-token", "abc", "--data", "my pairs.jsonl"])
    "plaudit train --hub-token '***' --data 'my pairs.jsonl'"
    """
    given = list(sys.argv if words is None else words)
    program = Path(given[0]).name if given else ""
    if program in ("", "-c", "-m", "ipykernel_launcher.py"):
        return "python"
    shown = ["python", given[0]] if program.endswith(".py") else [program]
    hides_next = False
    for word in given[1:]:
        name, equals, _ = word.partition("=")
        if hides_next:
            shown.append("***")
        elif equals and is_secret(name):
            shown.append(f"{name}=***")
        else:
            shown.append(hide_tokens(word))
        hides_next = not equals and word.startswith("--") and is_secret(word)
    return shlex.join(shown)


def describe_machine(device: torch.device | str, num_processes: int) -> dict[str, Any]:
    """What of the machine may decide a result: device by name, processes, threads, system; no name of the machine."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name() if kind == "cuda" else platform.processor() or platform.machine()
    return {
        "device": kind,
        "device_name": name,
        "num_processes": num_processes,
        "num_cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _versions() -> dict[str, str]:
    found = installed_versions() | {"python": platform.python_version()}
    for package in ALSO_VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
