"""A training step of plaudit against one of TRL's RewardTrainer: the same model, comparisons and optimiser.

Every variant has its own copy of the same initial weights and takes one optimiser step per batch: its trainer's rows,
collator, forward, backward, AdamW. The variants take turns batch by batch in one process. Before any step, rewards
and gradients of the same weights are compared with those of TRL in float32.

    python benchmarks/train_vs_trl.py
    python benchmarks/train_vs_trl.py --data hh-rlhf --precision fp32 --model m
    python benchmarks/train_vs_trl.py --quick        # a smoke run: a small model, little data, nothing appended
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from rich.console import Console
from rich.table import Table
from setting.corpus import DATA, GROUPED, Corpus, default_data_folder, make_batches, pair_rows, read_corpus
from setting.models import SHAPES, build_model
from setting.results import RESULTS, append_results, describe_machine
from setting.sides import PlauditSide, Side, TrlSide
from setting.timing import Timings, alternate
from torch import Tensor
from transformers import PreTrainedModel

from plaudit.errors import PlauditError
from plaudit.tokens import TokenGroup
from plaudit.tree import num_distinct_tokens

VARIANTS: dict[str, tuple[type[Side], bool]] = {
    "TRL": (TrlSide, True),
    "TRL -ckpt": (TrlSide, False),
    "plaudit": (PlauditSide, False),
    "plaudit +ckpt": (PlauditSide, True),
}
"""Side and gradient checkpointing. TRL as it comes has it on."""

TARGETS = {
    "hh-rlhf": (5.0, 4.0),
    "gsm8k-groups": (4.0, 3.2),
    "gsm8k-pairs": (2.4, 2.0),
    "ultrafeedback": (2.0, 1.6),
    "humanevalpack": (3.0, 2.4),
}
"""At least so many times faster than TRL as it comes, and than TRL without checkpointing (the project's aim)."""

NUM_COMPARED = 2
"""Batches whose rewards and gradients are compared (assumed: a difference in kind would show in one)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What one run measures."""

    corpus: Corpus
    """Groups and tokenizer."""
    batches: list[list[TokenGroup]]
    """The batches, the same for all variants."""
    model: PreTrainedModel
    """Initial weights in float32."""
    shape: str
    """Name of the model's shape."""
    precision: str
    """``fp32`` or ``bf16`` (autocast over float32 weights)."""
    scratch: Path
    """A folder for what trainers want to write."""

    def side(self, variant: str, precision: str | None = None) -> Side:
        """A variant with its own copy of the weights."""
        build, checkpointing = VARIANTS[variant]
        return build(
            copy.deepcopy(self.model),
            self.corpus.tokenizer,  # type: ignore[call-arg]
            self.batches,
            precision=precision or self.precision,
            checkpointing=checkpointing,
            scratch=self.scratch,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What came out of one setting."""

    timings: Timings
    """Seconds a step."""
    tokens: dict[str, int]
    """Tokens computed in the forward passes of one round, by variant."""
    reward_diff: dict[str, float]
    """Largest difference from TRL's rewards in float32, same weights."""
    grad_diff: dict[str, tuple[float, float]]
    """Largest difference from TRL's gradient in float32, relative to each parameter's largest; and the norm of the
    whole difference relative to the norm of the gradient."""
    reward_std: float
    """Spread of those rewards."""


def main(argv: Sequence[str] | None = None) -> None:
    options = _parse(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    model = build_model(options.model)
    with tempfile.TemporaryDirectory(prefix="plaudit-bench-") as scratch:
        for name in options.data:
            corpus = read_corpus(name, options.data_folder, max_records=options.max_records)
            batches = make_batches(
                corpus.groups, name=name, num_batches=options.batches, batch_size=options.batch_size
            )
            for precision in options.precision:
                setting = Setting(
                    corpus=corpus,
                    batches=batches,
                    model=model,
                    shape=options.model,
                    precision=precision,
                    scratch=Path(scratch),
                )
                measured = _measure(setting, options.rounds, options.max_rounds, console)
                _print(setting, measured, console)
                if options.output is not None:
                    append_results(options.output, _rows(setting, measured))
                gc.collect()


def _measure(setting: Setting, num_rounds: int, max_rounds: int, console: Console) -> Measurement:
    rewards, gradients = _reference(setting)
    sides = {variant: setting.side(variant) for variant in VARIANTS}
    reward_diff = {variant: _reward_diff(side, rewards) for variant, side in sides.items()}
    grad_diff = {variant: _grad_diff(side, gradients) for variant, side in sides.items()}
    num_batches = len(setting.batches)
    with console.status(setting.corpus.name) as status:
        timings = alternate(
            {variant: side.step for variant, side in sides.items()},
            num_units=num_batches,
            num_rounds=num_rounds,
            max_rounds=max_rounds,
            on_step=lambda variant: status.update(f"{setting.corpus.name} {setting.precision}: {variant}"),
        )
    return Measurement(
        timings=timings,
        tokens={v: sum(map(side.num_tokens, range(num_batches))) for v, side in sides.items()},
        reward_diff=reward_diff,
        grad_diff=grad_diff,
        reward_std=max(float(part.std()) for part in rewards),
    )


def _reference(setting: Setting) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Rewards and gradients of TRL in float32 without checkpointing."""
    side = setting.side("TRL -ckpt", "fp32")
    compared = range(min(NUM_COMPARED, side.num_batches))
    return [side.rewards(batch) for batch in compared], [side.gradients(batch) for batch in compared]


def _reward_diff(side: Side, expected: list[Tensor]) -> float:
    return max(float((side.rewards(batch) - rows).abs().max()) for batch, rows in enumerate(expected))


def _grad_diff(side: Side, expected: list[dict[str, Tensor]]) -> tuple[float, float]:
    """Largest difference relative to each parameter's largest; norm of all differences relative to the norm."""
    worst, squares, total = 0.0, 0.0, 0.0
    for batch, reference in enumerate(expected):
        found = side.gradients(batch)
        assert found.keys() == reference.keys(), "a parameter has no gradient on one side"
        for name, gradient in reference.items():
            difference = found[name] - gradient
            worst = max(worst, float(difference.abs().max()) / max(float(gradient.abs().max()), 1e-30))
            squares += float(difference.square().sum())
            total += float(gradient.square().sum())
    return worst, math.sqrt(squares / total)


def _rows(setting: Setting, measured: Measurement) -> list[dict[str, Any]]:
    """One row of results per variant."""
    timings = measured.timings
    num_pairs = timings.num_rounds * sum(len(pair_rows(batch)) for batch in setting.batches)
    return [
        {
            "benchmark": "train_vs_trl",
            "data": setting.corpus.name,
            "model": setting.shape,
            "precision": setting.precision,
            "variant": variant,
            "tokens": measured.tokens[variant],
            "given_tokens": _num_given(setting.batches),
            "distinct_tokens": _num_distinct(setting.batches),
            "median_s": timings.median_s(variant),
            "total_s": timings.total_s(variant),
            "pairs_per_s": num_pairs / timings.total_s(variant),
            "ratio_vs_trl": timings.ratio(variant, "TRL"),
            "ratio_vs_trl_nockpt": timings.ratio(variant, "TRL -ckpt"),
            "ratio_spread": timings.ratio_spread(variant, "TRL"),
            "reward_diff": measured.reward_diff[variant],
            "grad_diff": measured.grad_diff[variant][0],
            "grad_diff_l2": measured.grad_diff[variant][1],
            "notes": f"{len(setting.batches)} batches in {timings.num_rounds} rounds; diffs are from TRL in fp32, "
            f"whose rewards have std {measured.reward_std:.3g}",
        }
        for variant in VARIANTS
    ]


def _num_given(batches: list[list[TokenGroup]]) -> int:
    """Tokens of all rows of pairs, without padding."""
    return sum(len(better) + len(worse) for batch in batches for better, worse in pair_rows(batch))


def _num_distinct(batches: list[list[TokenGroup]]) -> int:
    """Tokens of the prefix trees of all batches, with nothing repeated."""
    return sum(num_distinct_tokens([ids for group in batch for ids in group.sequences]) for batch in batches)


def _print(setting: Setting, measured: Measurement, console: Console) -> None:
    rows = _rows(setting, measured)
    first = rows[0]
    form = "comparisons of a prompt together" if setting.corpus.name in GROUPED else "pairs"
    table = Table(
        title=f"{setting.corpus.name} ({form}), model {setting.shape}, {setting.precision}",
        caption=f"tokens: {first['given_tokens']:,} in rows of pairs, {first['distinct_tokens']:,} in distinct "
        f"prefixes. {first['notes']}",
    )
    for heading in (
        *("variant", "tokens", "median s", "total s", "pairs/s", "x TRL", "x TRL -ckpt", "spread", "target"),
        *("reward diff", "grad diff", "grad diff l2"),
    ):
        table.add_column(heading, justify="left" if heading in ("variant", "target") else "right")
    for row in rows:
        table.add_row(
            row["variant"],
            f"{row['tokens']:,}",
            f"{row['median_s']:.3f}",
            f"{row['total_s']:.2f}",
            f"{row['pairs_per_s']:.1f}",
            f"{row['ratio_vs_trl']:.2f}",
            f"{row['ratio_vs_trl_nockpt']:.2f}",
            f"{row['ratio_spread']:.0%}",
            _verdict(setting.corpus.name, row) if row["variant"] == "plaudit" else "",
            f"{row['reward_diff']:.1e}",
            f"{row['grad_diff']:.1e}",
            f"{row['grad_diff_l2']:.1e}",
        )
    console.print(table)


def _verdict(name: str, row: dict[str, Any]) -> str:
    targets = TARGETS[name]
    is_reached = row["ratio_vs_trl"] >= targets[0] and row["ratio_vs_trl_nockpt"] >= targets[1]
    mark = "[green]reached[/]" if is_reached else "[red]not reached[/]"
    return f"{targets[0]:.1f} / {targets[1]:.1f} {mark}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--data-folder", type=Path, default=default_data_folder())
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--model", choices=list(SHAPES), default="s", help="shape (default: s)")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=8, help="comparisons a batch, at least")
    parser.add_argument("--rounds", type=int, default=2, help="rounds over the batches")
    parser.add_argument("--max-rounds", type=int, default=4, help="more while a ratio spreads over a tenth")
    parser.add_argument("--max-records", type=int, default=None, help="read the first records of a file only")
    parser.add_argument(
        "--output", type=Path, default=None, help="append to this file instead of benchmarks/results.csv"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: nothing it prints says anything")
    options = parser.parse_args(argv)
    if options.quick:
        options.model, options.batches, options.rounds, options.max_rounds = "tiny", 2, 1, 1
        options.max_records = 64
    elif options.output is None:
        options.output = RESULTS
    return options


if __name__ == "__main__":
    try:
        main()
    except PlauditError as error:
        sys.exit(f"error: {error}")
