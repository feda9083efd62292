"""An evaluation as the command line runs it: models in turn, their results stored and printed, a table of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from plaudit.cli.console import messages, results
from plaudit.cli.evaluate_sets import SetReader
from plaudit.cli.evaluate_sources import ModelOptions, open_models
from plaudit.evaluation.display import models_table
from plaudit.evaluation.output_folder import check_output_folder
from plaudit.evaluation.remote import ServerSource
from plaudit.evaluation.run import EvaluationRun, evaluate_suites

__all__ = ["evaluate_models", "say"]


def evaluate_models(
    models: Sequence[str],
    options: ModelOptions,
    reader: SetReader,
    output_dir: Path | None,
    settings: Mapping[str, Any],
    *,
    is_first: bool,
    quiet: bool,
) -> None:
    """One model after the other; each is gone from memory before the next one is loaded.

    Args:
        models: As they are named on the command line.
        options: How they are loaded and asked.
        reader: What to evaluate on.
        output_dir: Where the results go; of several models each has a folder in it.
        settings: Further arguments of `evaluate_suites`.
        is_first: Whether this is the process that prints.
        quiet: Whether only the tables are printed.

    Raises:
        PlauditError: What opening, reading or evaluating raises.
    """
    if output_dir is not None:
        check_output_folder(output_dir)  # before a model is loaded
    runs: list[EvaluationRun] = []
    for model, name, source in open_models(models, options):
        is_only = len(models) == 1 or options.combine is not None
        folder = output_dir if output_dir is None or is_only else output_dir / name
        renderer = getattr(source, "renderer", None)
        sets = reader.sets(
            render="chat" if renderer is None else renderer.render,
            transcripts=getattr(source, "transcripts", "messages"),
        )
        with source if isinstance(source, ServerSource) else nullcontext():
            run = evaluate_suites(source, sets, output_dir=folder, name=model, **settings)
        del source
        runs.append(run)
        if is_first:
            for result in run.results.values():
                result.print(results())
            if folder is not None and not quiet:
                say(
                    f"{folder}/results.json; of each set results.json and rows.parquet: {', '.join(run.results)}"
                )
    if is_first and len(runs) > 1:
        headlines = {
            f"{name}: {result.headline()[0]}": [run.results[name].headline()[1] for run in runs]
            for name, result in runs[0].results.items()
        }
        results().print(models_table([run.model for run in runs], headlines))


def say(text: str) -> None:
    """A line beside the results."""
    messages().print(text, highlight=False, markup=False, soft_wrap=True)
