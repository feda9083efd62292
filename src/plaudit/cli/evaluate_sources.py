"""What ``plaudit eval`` evaluates and what it evaluates on: models, servers, files of rewards; suites and data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import PartialState

from plaudit.cli.loading import load_scorer, load_scorers
from plaudit.cli.reading import ReadOptions, parse_source, read_sources
from plaudit.errors import PlauditError
from plaudit.evaluation.folder import folder_names
from plaudit.evaluation.remote import ServerSource
from plaudit.evaluation.rewards_file import FileSource, is_rewards_file
from plaudit.evaluation.run import EvaluationSet
from plaudit.evaluation.suites import Benchmark, find_suite
from plaudit.model.record import read_record
from plaudit.preferences.holdout import first_groups
from plaudit.scoring import EnsembleScorer
from plaudit.tokens import Renderer, load_tokenizer

if TYPE_CHECKING:
    from plaudit.evaluation.reward_source import RewardSource
    from plaudit.scoring import Scorer

__all__ = ["ModelOptions", "SetReader", "join_processes", "open_model", "open_models"]

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
    if options.combine is not None:
        yield " + ".join(models), "ensemble", _ensemble(models, options)
        return
    folders = folder_names(models)
    for model, folder in zip(models, folders, strict=True):
        yield model, folder, open_model(model, options)


def _ensemble(models: Sequence[str], options: ModelOptions) -> Scorer | EnsembleScorer:
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
    if model.startswith(("http://", "https://")):
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


def _renderer(folder: str | None) -> Renderer | None:
    """As a scorer of that folder would render."""
    if folder is None:
        return None
    tokenizer = load_tokenizer(folder).tokenizer
    record = read_record(folder)
    return Renderer(tokenizer) if record is None else Renderer.from_rule(tokenizer, record.rendering)


class SetReader:
    """Reads suites and data; once for all models that read transcripts alike."""

    def __init__(
        self,
        suites: Sequence[str],
        data: Sequence[str],
        options: ReadOptions,
        *,
        limit: int | None,
        bad_records_folder: Path | None,
        progress: bool,
        on_read: Callable[[str, str], None],
    ) -> None:
        """
        Args:
            suites: As ``--suite`` gives them: ``name`` or ``name=path``.
            data: As ``--data`` gives them; each is a set of its own.
            options: How data are read.
            limit: Only the first so many groups of each set.
            bad_records_folder: Where skipped records are written.
            progress: Whether progress is shown.
            on_read: Called with the name of a set that was read and what was found.

        Raises:
            PlauditError: An unknown suite or choice, or neither suites nor data.
        """
        for problem in options.problems():
            raise problem
        if limit is not None and limit < 1:
            raise PlauditError(f"{limit} groups", where="--limit", fix="Give a number above 0.")
        if not suites and not data:
            raise PlauditError("there is nothing to evaluate on", fix="Give --suite or --data.")
        self.suites = [
            (find_suite(name), source or None) for name, _, source in (s.partition("=") for s in suites)
        ]
        self.data = [parse_source(entry)[0] for entry in data]
        self.entries = list(data)
        self.options = options
        self.limit = limit
        self.bad_records_folder = bad_records_folder
        self.progress = progress
        self.on_read = on_read
        self.names = _all_different([suite.name for suite, _ in self.suites] + folder_names(self.data))
        self._read: dict[str, list[EvaluationSet]] = {}

    def sets(self, *, render: str, transcripts: str) -> list[EvaluationSet]:
        """All sets, for a model that renders so and takes transcripts so."""
        if self.options.transcripts != "auto":
            transcripts = self.options.transcripts
        if transcripts not in self._read:
            self._read[transcripts] = list(self._sets(render, transcripts))
        return self._read[transcripts]

    def _sets(self, render: str, transcripts: str) -> Iterator[EvaluationSet]:
        of_suites, of_data = self.names[: len(self.suites)], self.names[len(self.suites) :]
        for name, (suite, source) in zip(of_suites, self.suites, strict=True):
            # A suite of someone else's may know no other way than to stop at a bad row.
            skips = {"on_bad_record": self.options.on_bad_record} if isinstance(suite, Benchmark) else {}
            preferences = suite.read(source, progress=self.progress, **skips)
            yield self._set(EvaluationSet(name=name, preferences=preferences, suite=suite))
        options = replace(self.options, transcripts=transcripts)
        for name, entry in zip(of_data, self.entries, strict=True):
            file = "bad-records.jsonl" if len(self.entries) == 1 else f"bad-records-{name}.jsonl"
            preferences = read_sources(
                [entry],
                options,
                render=render,
                bad_records_path=None if self.bad_records_folder is None else self.bad_records_folder / file,
                progress=self.progress,
            )
            yield self._set(EvaluationSet(name=name, preferences=preferences))

    def _set(self, found: EvaluationSet) -> EvaluationSet:
        self.on_read(found.name, found.preferences.report.summary())
        if self.limit is None:
            return found
        return replace(found, preferences=first_groups(found.preferences, self.limit))


def _all_different(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that were there before.

    >>> _all_different(["llmbar", "llmbar", "test"])
    ['llmbar', 'llmbar-2', 'test']
    """
    found: list[str] = []
    for name in names:
        number, own = 2, name
        while own in found:
            own, number = f"{name}-{number}", number + 1
        found.append(own)
    return found
