"""The hyperparameters that are usual for reward models by size, as data, and warnings where a run is far off.

The table is that of TRL's reward modelling guide. It is read by the warnings, by ``plaudit train --help`` and by the
table in docs/recipes.md. How far is far is ours, and wide enough for the published recipes in ``recipes/``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from plaudit.training.parallel import is_launched

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from plaudit.training.config import RewardConfig

__all__ = ["GUIDE", "Guideline", "advice", "guide_rows", "guideline_for", "warn_of_settings"]

BILLION = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class Guideline:
    """A row of the guide's table: what is usual for models of a size when all weights are trained."""

    size: str
    """In parameters, in words."""
    max_parameters: float
    """Models with fewer parameters than this, and no fewer than the row before, are meant."""
    learning_rate: float
    """At its peak."""
    batch_size: tuple[int, int]
    """Least and most comparisons in a batch on one device."""
    epochs: tuple[int, int]
    """Least and most times through the data."""


GUIDE = (
    Guideline(size="<1B", max_parameters=1 * BILLION, learning_rate=2e-5, batch_size=(4, 8), epochs=(1, 2)),
    Guideline(size="1-7B", max_parameters=7 * BILLION, learning_rate=1e-5, batch_size=(2, 4), epochs=(1, 1)),
    Guideline(
        size="7-13B", max_parameters=float("inf"), learning_rate=5e-6, batch_size=(1, 2), epochs=(1, 1)
    ),
)
"""The table (TRL's reward modelling guide). It ends at 13B; its last row stands for larger models too (assumed)."""

ADAPTER_FACTOR = 10
"""An adapter's learning rate is usually this many times that of full training (assumed: common practice)."""

LEARNING_RATE_FACTOR = 5
"""Far off is more than this many times the table's learning rate, or less than one in this many (assumed:
SmolTulu-1.7B-RM was trained well at 4 times; TRL's default of 1e-4 is 10 or 20 times for models above 1B)."""

BATCH_FACTOR = 4
"""Far off is more than this many times the table's largest batch (assumed: Tulu 3 has 2 times). A smaller batch costs
time at most: accumulation makes up for it."""

EPOCHS_FACTOR = 2
"""Far off is more than this many times the table's most epochs (assumed). Fewer are right where data abound."""

MIN_PARAMETERS = 10_000_000
"""Smaller models are toys with random weights, which learn at other rates: the guide does not speak of them (assumed:
no pretrained language model in use is smaller)."""

log = logging.getLogger(__name__)


def guideline_for(num_parameters: int) -> Guideline:
    """The row for a model's size.

    >>> guideline_for(494_000_000).size, guideline_for(1_710_000_000).size, guideline_for(8_030_000_000).size
    ('<1B', '1-7B', '7-13B')
    """
    return next(row for row in GUIDE if num_parameters < row.max_parameters)


def advice(
    num_parameters: int,
    learning_rate: float,
    batch_size: int,
    num_epochs: float | None,
    *,
    uses_adapter: bool,
) -> list[str]:
    """A sentence for each value that is far off what is usual; none where all is well.

    Args:
        num_parameters: Of the whole model, frozen ones included.
        learning_rate: At its peak.
        batch_size: Preference groups in a batch on one device.
        num_epochs: Times through the data; None where steps are counted instead.
        uses_adapter: Whether adapters are trained instead of all weights.

    >>> advice(7_600_000_000, 1e-5, 2, 1, uses_adapter=False)
    []
    >>> advice(7_600_000_000, 1e-4, 2, 1, uses_adapter=False)[0].split(";")[0]
    'learning_rate 1e-4 is 20 times the 5e-6 that is usual for 7.6B parameters when all weights are trained'
    """
    if num_parameters < MIN_PARAMETERS:
        return []
    row, size = guideline_for(num_parameters), f"{_size(num_parameters)} parameters"
    checks = (
        _of_learning_rate(row, size, learning_rate, uses_adapter=uses_adapter),
        _of_batch_size(row, size, batch_size),
        _of_epochs(row, size, num_epochs),
    )
    return [sentence for sentence in checks if sentence]


def warn_of_settings(model: PreTrainedModel, args: RewardConfig, *, uses_adapter: bool) -> list[str]:
    """Log `advice` on a run's settings, and which have no effect, on the first process; returns what was logged."""
    sentences = advice(
        _num_parameters(model),
        args.learning_rate,
        args.per_device_train_batch_size,
        None if args.max_steps > 0 else args.num_train_epochs,
        uses_adapter=uses_adapter,
    )
    sentences += _without_effect(args) + _idle_gpus(args)
    if args.process_index == 0:
        for sentence in sentences:
            log.warning(sentence)
    return sentences


def _idle_gpus(args: RewardConfig) -> list[str]:
    """GPUs that nobody uses, since no launcher started a process for each."""
    num_gpus = torch.cuda.device_count() if args.device.type == "cuda" else 1
    if num_gpus == 1 or is_launched():
        return []
    return [f"1 of {num_gpus} GPUs is used: plaudit train --num-processes {num_gpus}, or torchrun, uses all"]


def _without_effect(args: RewardConfig) -> list[str]:
    """Settings of an objective that is not trained with."""
    names = args.chosen_objective().names
    given = (
        ("--label-smoothing-factor", bool(args.label_smoothing_factor), ("bradley-terry",)),
        ("--rating-range", args.rating_range is not None, ("binary-cross-entropy",)),
        ("--average-per-prompt", args.average_per_prompt, ("bradley-terry", "rao-kupper", "davidson")),
    )
    return [
        f"{flag} has no effect: it is a setting of --objective {' or '.join(of)}"
        for flag, is_given, of in given
        if is_given and not set(of) & set(names)
    ]


def guide_rows() -> list[tuple[str, str, str, str, str]]:
    """The table as text, its header first: size, learning rate, that of adapters, batch, epochs."""
    header = ("model size", "learning rate", "learning rate of adapters", "batch size per device", "epochs")
    rows = [
        (
            row.size,
            _rate(row.learning_rate),
            _rate(row.learning_rate * ADAPTER_FACTOR),
            _span(row.batch_size),
            _span(row.epochs),
        )
        for row in GUIDE
    ]
    return [header, *rows]


def _of_learning_rate(row: Guideline, size: str, learning_rate: float, *, uses_adapter: bool) -> str | None:
    usual = row.learning_rate * (ADAPTER_FACTOR if uses_adapter else 1)
    # Rounded, so that 1e-4 is five times 2e-5 and not a little more.
    ratio = round(learning_rate / usual, 6)
    if 1 / LEARNING_RATE_FACTOR <= ratio <= LEARNING_RATE_FACTOR:
        return None
    if learning_rate <= 0:
        return f"learning_rate {learning_rate:g} trains nothing; {_rate(usual)} is usual for {size}"
    times = f"{ratio:.3g} times" if ratio > 1 else f"1/{usual / learning_rate:.3g} of"
    what = "adapters are trained" if uses_adapter else "all weights are trained"
    return (
        f"learning_rate {_rate(learning_rate)} is {times} the {_rate(usual)} that is usual for {size} when {what}; "
        f"leave it only if you mean it"
    )


def _of_batch_size(row: Guideline, size: str, batch_size: int) -> str | None:
    most = row.batch_size[1]
    if batch_size <= most * BATCH_FACTOR:
        return None
    return (
        f"per_device_train_batch_size {batch_size} is {batch_size / most:.3g} times the {_span(row.batch_size)} that "
        f"is usual for {size}; gradient_accumulation_steps makes the same step of smaller batches in less memory"
    )


def _of_epochs(row: Guideline, size: str, num_epochs: float | None) -> str | None:
    most = row.epochs[1]
    if num_epochs is None or num_epochs <= most * EPOCHS_FACTOR:
        return None
    return (
        f"num_train_epochs {num_epochs:g} is more than the {_span(row.epochs)} that is usual for {size}; "
        f"watch the accuracy on data held out"
    )


def _num_parameters(model: PreTrainedModel) -> int:
    """Of the whole model, also where ZeRO-3 has divided it over processes or 4 bits share a byte."""
    divided = sum(getattr(parameter, "ds_numel", 0) for parameter in model.parameters())
    return divided or model.num_parameters()


def _size(num_parameters: int) -> str:
    if num_parameters < BILLION:
        return f"{num_parameters / 1e6:.0f}M"
    return f"{num_parameters / BILLION:.1f}B"


def _rate(value: float) -> str:
    """A learning rate as people write it.

    >>> _rate(1e-4), _rate(2.5e-5)
    ('1e-4', '2.5e-5')
    """
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _span(values: Sequence[int]) -> str:
    least, most = values
    return f"{least}" if least == most else f"{least}-{most}"
