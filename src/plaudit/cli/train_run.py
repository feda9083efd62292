"""A training run as the command line starts it: settings resolved, data read, trainer built, results saved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from plaudit.cli.reading import read_sources
from plaudit.cli.run_file import find_start, read_run_file, run_file_text, write_run_file
from plaudit.cli.settings import (
    build_config,
    default_of,
    parse_settings,
    setting_names,
    split_flags,
)
from plaudit.cli.train_options import TrainOptions, parse_options
from plaudit.errors import PlauditError
from plaudit.model.record import installed_versions, read_record
from plaudit.preferences import Preferences
from plaudit.preferences.holdout import hold_out
from plaudit.processes import first_decides
from plaudit.tokens import Renderer, load_tokenizer
from plaudit.training import RewardConfig, RewardTrainer
from plaudit.training.progress import RewardProgress
from plaudit.training.recording import evaluation_at

__all__ = ["TrainingRun", "begin", "build_trainer", "finish", "resolve_run", "start_of"]

EVALS_PER_RUN = 4
"""Evaluations when nothing is said about them (assumed: enough to see a curve, cheap beside the training)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """Everything that was asked for, resolved."""

    options: TrainOptions
    """Model and data."""
    chosen: Mapping[str, Any]
    """Fields of RewardConfig that were given, or that plaudit sets for this run."""
    config: RewardConfig
    """All fields."""

    @property
    def folder(self) -> Path:
        """The output folder."""
        assert self.config.output_dir is not None, "checked when the run was resolved"
        return Path(self.config.output_dir)

    def as_plain(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values for ``run.yaml``."""
        chosen = {name: value for name, value in self.chosen.items() if value != default_of(name)}
        return self.options.as_plain() | chosen

    def defaults(self) -> dict[str, Any]:
        """The settings that are at their defaults."""
        plain = self.as_plain()
        return {name: default_of(name) for name in setting_names() if name not in plain}


def resolve_run(given: Mapping[str, Any], leftover: Sequence[str], config_path: Path | None) -> TrainingRun:
    """The run that flags and file describe.

    Args:
        given: The command's own flags by name, None where absent; ``output_dir`` among them.
        leftover: The words that the command does not know: fields of RewardConfig.
        config_path: The YAML file.

    Raises:
        PlauditError: Everything that is wrong, at once.
    """
    from_file = read_run_file(config_path) if config_path is not None else {}
    options, problems = parse_options(given, from_file)
    flags, more = split_flags(leftover)
    if given.get("output_dir") is not None:
        flags["output_dir"] = [str(given["output_dir"])]
    own = TrainOptions.__dataclass_fields__
    settings = {name: value for name, value in from_file.items() if name not in own}
    chosen, misread = parse_settings(flags, settings, other_names=tuple(own))
    problems += more + misread
    if not chosen.get("output_dir"):
        problems.append(PlauditError("the output folder is missing", where="--output-dir", fix="Name one."))
    problems += _evaluation_settings(options, chosen)
    config = _config(chosen, problems)
    return TrainingRun(options=options, chosen=chosen, config=config)


def start_of(run: TrainingRun, *, resume: str, overwrite: bool) -> Path | None:
    """The checkpoint to go on from, or None; see `find_start`. The first process looks, for all of them."""
    plain = run.defaults() | run.as_plain()
    return first_decides(
        lambda: find_start(
            run.folder, plain, resume=resume, overwrite=overwrite, world_size=run.config.world_size
        )
    )


def build_trainer(run: TrainingRun, *, quiet: bool) -> tuple[RewardTrainer, list[Preferences]]:
    """Read the data, load the model, and build the trainer; the preferences are those to train and evaluate on.

    Raises:
        PlauditError: What reading, loading or the trainer raises.
    """
    config = run.config
    tokenizer = load_tokenizer(
        run.options.model,
        chat_template_path=config.chat_template_path,
        trust_remote_code=config.trust_remote_code,
        revision=cast("Mapping[str, Any]", config.model_init_kwargs or {}).get("revision"),
    ).tokenizer
    render = Renderer(tokenizer, render=config.render, eos_token=config.eos_token).render
    parts = _read(run, render, progress=not quiet)
    try:
        trainer = RewardTrainer(
            run.options.model,
            args=config,
            processing_class=tokenizer,
            train_dataset=parts[0],
            eval_dataset=parts[1] if len(parts) > 1 else None,
        )
    except ValueError as error:
        raise PlauditError(f"the settings cannot be used: {error}") from error
    if quiet:
        trainer.remove_callback(RewardProgress)
    return trainer, parts


def begin(run: TrainingRun, trainer: RewardTrainer, checkpoint: Path | None) -> None:
    """Check the checkpoint's data against the run's, and write ``run.yaml``.

    Raises:
        PlauditError: The data are not those that the checkpoint was trained on.
    """
    record = read_record(checkpoint) if checkpoint is not None else None
    now = getattr(trainer.train_groups, "fingerprint", None)
    if record is not None and record.data_fingerprint not in (None, now):
        raise PlauditError(
            "the training data have changed since the checkpoint was written",
            where=str(checkpoint),
            fix="Restore the data; or start anew with --overwrite.",
        )
    if trainer.is_world_process_zero():
        world_size = run.config.world_size
        text = run_file_text(run.as_plain(), run.defaults(), installed_versions(), world_size=world_size)
        write_run_file(run.folder, text)


def finish(trainer: RewardTrainer, train_metrics: dict[str, float]) -> dict[str, float]:
    """Evaluate the final weights where that was not done, save the model and the metrics; returns theirs."""
    metrics = evaluation_at(trainer.state, trainer.step_of_weights)
    if trainer.eval_dataset is not None and not trainer.recorder.results(trainer.step_of_weights):
        metrics = trainer.evaluate()
    trainer.save_state()
    trainer.save_metrics("train", train_metrics)
    if metrics:
        trainer.save_metrics("eval", metrics)
    trainer.save_model()  # last: it pushes the folder, where that is asked for
    return metrics


def _read(run: TrainingRun, render: str, *, progress: bool) -> list[Preferences]:
    options, config = run.options, run.config
    read_options = options.read_options(
        transcripts=config.transcripts,
        attributes=tuple(config.attribute_weights() or ()),
        seed=config.seed_of_data,
    )
    common = {"render": render, "progress": progress}
    bad = run.folder / "bad-records.jsonl"
    train = read_sources(options.data, read_options, bad_records_path=bad, **common)
    if options.eval_data:
        bad = run.folder / "bad-records-eval.jsonl"
        return [train, read_sources(options.eval_data, read_options, bad_records_path=bad, **common)]
    if not options.evaluates:
        return [train]
    parts = hold_out(
        train, fraction=options.eval_fraction, num_groups=options.eval_groups, seed=read_options.seed
    )
    return list(parts)


def _evaluation_settings(options: TrainOptions, chosen: dict[str, Any]) -> list[PlauditError]:
    """Evaluate a few times where there is something to evaluate on and nothing is said; refuse it where not."""
    strategy = chosen.get("eval_strategy")
    if options.evaluates and strategy is None:
        chosen["eval_strategy"] = "steps"
        chosen.setdefault("eval_steps", 1 / EVALS_PER_RUN)
    if not options.evaluates and strategy not in (None, "no"):
        problem = "there is nothing to evaluate on"
        fix = "Give --eval-data, or hold out prompts with --eval-fraction or --eval-groups."
        return [PlauditError(problem, where="--eval-strategy", fix=fix)]
    return []


def _config(chosen: Mapping[str, Any], problems: list[PlauditError]) -> RewardConfig:
    """The configuration, or all problems in one error."""
    try:
        config = build_config({"output_dir": os.curdir} | dict(chosen))
        if not problems:
            return config
    except PlauditError as error:
        problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    lines = "".join(f"\n  {problem}" for problem in problems)
    raise PlauditError(f"{len(problems)} problems with the settings:{lines}")
