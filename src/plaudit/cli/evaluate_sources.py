"""What ``plaudit eval`` and ``plaudit bestofn`` ask for rewards: models, ensembles, servers, files of rewards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from accelerate import PartialState

from plaudit.cli.loading import load_scorer, load_scorers
from plaudit.errors import PlauditError
from plaudit.evaluation.names import folder_names, without_password
from plaudit.evaluation.remote import ServerSource, check_server_options
from plaudit.evaluation.rewards_file import FileSource, is_rewards_file
from plaudit.model.record import read_record
from plaudit.scoring import EnsembleScorer
from plaudit.tokens import Renderer, load_tokenizer

if TYPE_CHECKING:
    from plaudit.evaluation.reward_source import RewardSource
    from plaudit.scoring import Scorer

__all__ = ["ModelOptions", "join_processes", "open_model", "open_models"]

LONGEST_WAIT = timedelta(days=7)
"""That one process waits for the others: parts of an evaluation may differ by hours, and a dead neighbour is noticed
otherwise (assumed)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """How models are loaded and servers are asked."""

    attention: str = "auto"
    dtype: str = "auto"
    device: str | None = None
    max_tokens_per_pass: int | None = None
    protocol: str = "auto"
    server_model: str | None = None
    tokenizer: str | None = None
    concurrency: int = 16
    timeout_s: float = 180.0
    head_key: str | None = None
    combine: str | None = None
    uwo_coefficient: float | None = None


def join_processes(device: str | None) -> bool:
    """Find the other processes of this run, where a launcher has started several; whether this is the first."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        on_cpu = not torch.cuda.is_available() or (device or "").startswith("cpu")
        return PartialState(cpu=on_cpu, timeout=LONGEST_WAIT).is_main_process
    return True


def open_models(
    models: Sequence[str], options: ModelOptions
) -> Iterator[tuple[str, str, Scorer | EnsembleScorer | RewardSource]]:
    """Each model with its name as given and its folder's name, loaded when its turn comes; or all as an ensemble."""
    check_server_options(options.protocol, options.concurrency, options.timeout_s)
    if options.combine is not None:
        scorer = _ensemble(models, options)
        yield scorer.name or models[0], "ensemble", scorer
        return
    folders = folder_names(models)
    for model, folder in zip(models, folders, strict=True):
        yield without_password(model), folder, open_model(model, options)


def _ensemble(models: Sequence[str], options: ModelOptions) -> Scorer | EnsembleScorer:
    for model in models:
        if _is_server(model) or is_rewards_file(model):
            raise PlauditError(
                f"{without_password(model)} is no model that is loaded here, and takes no part in an ensemble",
                where="--combine",
                fix="Name folders or hub ids of models, or leave --combine out.",
            )
    scorer = load_scorers(
        models,
        options.attention,
        options.dtype,
        _device_here(options),
        options.max_tokens_per_pass,
        head_key=options.head_key,
        combine=options.combine,
        uwo_coefficient=options.uwo_coefficient,
    )
    if isinstance(scorer, EnsembleScorer):
        scorer.check_one_rendering()  # before the data are read
    return scorer


def _device_here(options: ModelOptions) -> str | None:
    if options.device is None and torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return options.device


def open_model(model: str, options: ModelOptions) -> Scorer | RewardSource:
    """The model of a folder or hub id, the server of an address, or the file of rewards; a server is to be closed.

    Raises:
        PlauditError: An option's value is unknown, or the model cannot be loaded, asked or read.
    """
    check_server_options(options.protocol, options.concurrency, options.timeout_s)
    if _is_server(model):
        return ServerSource(
            model,
            protocol=options.protocol,
            model=options.server_model,
            renderer=_renderer(options.tokenizer),
            concurrency=options.concurrency,
            timeout_s=options.timeout_s,
        )
    if is_rewards_file(model):
        return FileSource(model, renderer=_renderer(options.tokenizer))
    return load_scorer(
        model,
        options.attention,
        options.dtype,
        _device_here(options),
        options.max_tokens_per_pass,
        head_key=options.head_key,
    )


def _is_server(model: str) -> bool:
    return model.startswith(("http://", "https://"))


def _renderer(folder: str | None) -> Renderer | None:
    """As a scorer of that folder would render."""
    if folder is None:
        return None
    tokenizer = load_tokenizer(folder).tokenizer
    record = read_record(folder)
    return Renderer(tokenizer) if record is None else Renderer.from_rule(tokenizer, record.rendering)
