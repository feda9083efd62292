"""The results in a model card: accuracies with n and interval, the evaluations by step, the scale of rewards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plaudit.objective.intervals import Estimate
from plaudit.training.estimates import EvaluatedSet
from plaudit.training.markdown import inline, pipe_table
from plaudit.training.metrics_log import MetricsLine
from plaudit.training.run_record import RunRecord

__all__ = ["results_section", "reward_scale", "steps_table"]

MAX_STEPS_SHOWN = 40
"""Rows of the table by step (assumed: what one scrolls through); of more evaluations every k-th is shown."""


def results_section(
    record: RunRecord, evaluations: Sequence[EvaluatedSet], lines: Sequence[MetricsLine]
) -> str:
    """The section as Markdown; without an evaluation it says that there was none."""
    parts = ["## Results"]
    if evaluations:
        parts += [_results_table(evaluations), *_notes(record, evaluations)]
    else:
        parts.append("The model was not evaluated: how good it is, is unknown.")
    by_step = steps_table(lines)
    if by_step:
        parts += ["Evaluations during training:", by_step]
    return "\n\n".join(parts)


def reward_scale(evaluations: Sequence[EvaluatedSet]) -> str:
    """Mean and standard deviation of the raw rewards, where they were measured."""
    rows = [
        [inline(e.name), f"{e.reward_mean:.3f}", f"{e.reward_std:.3f}", f"{e.num_rewards:,}"]
        for e in evaluations
        if e.num_rewards and math.isfinite(e.reward_mean)
    ]
    if not rows:
        return ""
    text = (
        "## Scale of the rewards\n\nRewards are raw: they have no unit, and only differences between answers to the "
        "same prompt were trained. On the evaluation data:"
    )
    header = ["Data", "Mean", "Standard deviation", "Rewards"]
    return f"{text}\n\n{pipe_table(header, rows, right=[1, 2, 3])}"


def steps_table(lines: Sequence[MetricsLine]) -> str:
    """Epoch, step, validation loss and accuracy of each evaluation; empty where there was none."""
    names, by_step = _evaluations_by_step(lines)
    if not by_step:
        return ""
    has_accuracy = {n for n in names if any(f"{n}_rm/accuracy" in line for line in by_step.values())}
    header = ["Epoch", "Step"]
    for name in names:
        suffix = "" if name == "eval" else f" ({inline(name.removeprefix('eval_'))})"
        header += [f"Validation Loss{suffix}", *([f"Accuracy{suffix}"] if name in has_accuracy else [])]
    every = -(-len(by_step) // MAX_STEPS_SHOWN)
    steps = sorted(by_step)
    shown = steps[::-1][::every][::-1]  # the last one is always there
    rows = [list(_step_cells(by_step[step], step, names, has_accuracy)) for step in shown]
    table = pipe_table(header, rows, right=range(len(header)))
    if every > 1:
        table += f"\n\n{len(shown)} of {len(steps)} evaluations; `metrics.jsonl` has all of them."
    return table


def _results_table(evaluations: Sequence[EvaluatedSet]) -> str:
    rows = [
        [
            inline(e.name),
            _percent(e.accuracy.value),
            _interval(e.accuracy, _percent),
            f"{e.accuracy.n:,}",
            _decimal(e.loss),
            _decimal(e.margin.value),
            _interval(e.margin, _decimal),
        ]
        for e in evaluations
    ]
    header = ["Data", "Accuracy", "95% interval", "n", "Loss", "Mean margin", "95% interval"]
    table = pipe_table(header, rows, right=range(1, len(header)))
    others = [
        [inline(e.name), inline(name), _decimal(value)]
        for e in evaluations
        for name, value in (e.other_metrics or {}).items()
    ]
    return f"{table}\n\n{pipe_table(['Data', 'Metric', 'Value'], others, right=[2])}" if others else table


def _notes(record: RunRecord, evaluations: Sequence[EvaluatedSet]) -> Iterator[str]:
    """How to read the table."""
    methods = dict.fromkeys(e.accuracy.interval.method for e in evaluations if e.accuracy.n)
    meaning = {
        "wilson": "Wilson's, comparisons being independent",
        "wilson over prompts": "Wilson's with n the number of prompts",
        "bootstrap over prompts": "the bootstrap over prompts, since comparisons of one prompt depend on each other",
    }
    named = [meaning[method] for method in methods if method in meaning]
    text = "Accuracy: share of comparisons whose better answer has the higher reward; n: comparisons."
    yield text + (f" Intervals of the accuracy: {'; '.join(named)}." if named else "")
    for e in evaluations:
        counts = [
            (e.num_data_ties, "comparisons are ties in the data and not in the averages"),
            (e.num_reward_ties, "comparisons have equal rewards and count as wrong"),
        ]
        said = [f"{number:,} {what}" for number, what in counts if number]
        if said:
            yield f"{inline(e.name)}: {'; '.join(said)}."
        if e.accuracy.reason:
            yield f"{inline(e.name)}: no accuracy ({inline(e.accuracy.reason)})."
    steps = {e.step for e in evaluations if e.step is not None}
    if record.saved_step is not None and steps - {record.saved_step}:
        measured = ", ".join(f"{step:,}" for step in sorted(steps))
        yield (
            f"The saved weights are those of step {record.saved_step:,}; the table is of the weights of step "
            f"{measured}."
        )


def _evaluations_by_step(lines: Sequence[MetricsLine]) -> tuple[list[str], dict[int, dict[str, Any]]]:
    """Names of the evaluation sets, and for each step all that was logged of them."""
    names: dict[str, None] = {}
    by_step: dict[int, dict[str, Any]] = {}
    for line in lines:
        found = [
            name.removesuffix("_num_comparisons")
            for name in line
            if name.startswith("eval") and name.endswith("_num_comparisons")
        ]
        if found:
            names |= dict.fromkeys(found)
            by_step.setdefault(int(line["step"]), {}).update(line)
    return list(names), by_step


def _step_cells(
    line: Mapping[str, Any], step: int, names: Sequence[str], has_accuracy: set[str]
) -> Iterator[str]:
    epoch = line.get("epoch")
    yield f"{epoch:.4f}" if isinstance(epoch, int | float) and math.isfinite(epoch) else "-"
    yield f"{step:,}"
    for name in names:
        yield _decimal(line.get(f"{name}_loss"), 4)
        if name in has_accuracy:
            yield _percent(line.get(f"{name}_rm/accuracy"), 2)


def _interval(estimate: Estimate, shown: Any) -> str:
    interval = estimate.interval
    return "none" if math.isnan(interval.low) else f"{shown(interval.low)} to {shown(interval.high)}"


def _percent(value: float | None, digits: int = 1) -> str:
    return f"{value:.{digits}%}" if value is not None and math.isfinite(value) else "-"


def _decimal(value: float | None, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if value is not None and math.isfinite(value) else "-"
