"""Evaluating LLMBar, HumanEvalPack and UltraFeedback: plaudit's run against the loop that the rewardbench package has.

The loop goes through the file in its order, batch by batch: the chosen answers of a batch padded to their longest, then
the rejected ones. Tokens are counted on all of the data, which needs no model. Time is measured on a part of them, in
one process, the sides taking turns, with the same weights and the same token ids.

    python benchmarks/eval_vs_loop.py
    python benchmarks/eval_vs_loop.py --quick     # a smoke run: a small model, few pairs, nothing appended
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table
from setting.corpus import default_data_folder, read_records
from setting.models import SHAPES, build_model
from setting.results import RESULTS, append_results, describe_machine
from setting.timing import Timings, alternate
from setting.tokenizer import train_tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from plaudit.errors import PlauditError
from plaudit.evaluation.reward_source import TokenSource
from plaudit.model import prepare_reward_model
from plaudit.model.inference import DEFAULT_MAX_TOKENS
from plaudit.scoring import Scorer
from plaudit.tokens import Renderer
from plaudit.tree.packing import pack_sequences
from plaudit.tree.plan import common_prefix_lengths

FILES = (
    "llmbar/pairs.jsonl",
    "humanevalpack/pairs.jsonl",
    "ultrafeedback/test.jsonl",
    "ultrafeedback/train.jsonl",
)
MAX_TOKENS = 2_048
"""Longer pairs are left out on both sides (the rewardbench package cuts there: --max_length)."""

BATCHES = (8, 64)
PLAUDIT = "plaudit"
TARGETS = {8: 2.0, 64: 4.0}
"""At least so many times fewer computed tokens than the loop at this batch (the project's aim)."""

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Pairs as token ids, in the order of the files."""

    pairs: tuple[Pair, ...]
    """(chosen, rejected)."""
    num_left_out: int
    """Pairs that are too long."""
    tokenizer: PreTrainedTokenizerFast
    """Trained on their text."""


def main(argv: Sequence[str] | None = None) -> None:
    options = _parse(argv)
    transformers.utils.logging.set_verbosity_error()
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    data = _read(options.data_folder, options.max_records)
    tokens = {_loop_name(batch): _padded_tokens(data.pairs, batch) for batch in BATCHES}
    tokens[PLAUDIT] = _computed_tokens(data.pairs)
    num_given = sum(len(ids) for pair in data.pairs for ids in pair)
    left_out = f"{data.num_left_out:,} pairs over {MAX_TOKENS:,} tokens left out"
    console.print(f"{len(data.pairs):,} pairs, {num_given:,} tokens in them, {left_out}")
    model = build_model(options.model).eval()
    units = _units(data.pairs, options.pairs, options.units)
    timings, diffs = _time(model, data, units, options.rounds, options.max_rounds)
    rows = _rows(tokens, num_given, timings, diffs, units, options.model)
    _print(rows, console)
    if options.output is not None:
        append_results(options.output, rows)


def _read(folder: Path, max_records: int | None) -> Data:
    records = list(read_records((folder / file for file in FILES), max_records))
    texts = [(str(r["prompt"]), str(r["chosen"]), str(r["rejected"])) for r in records]
    tokenizer = train_tokenizer(part for text in texts for part in text)
    renderer = Renderer(tokenizer)
    chosen = renderer.token_ids_of_texts([renderer.render_text(p, c) for p, c, _ in texts])
    rejected = renderer.token_ids_of_texts([renderer.render_text(p, r) for p, _, r in texts])
    pairs = [pair for pair in zip(chosen, rejected, strict=True) if max(map(len, pair)) <= MAX_TOKENS]
    return Data(pairs=tuple(pairs), num_left_out=len(texts) - len(pairs), tokenizer=tokenizer)


def _loop_name(batch: int) -> str:
    return f"loop, batch {batch}"


def _padded_tokens(pairs: Sequence[Pair], batch: int) -> int:
    """Rows times the longest, of the chosen and the rejected answers of each batch."""
    total = 0
    for first in range(0, len(pairs), batch):
        part = pairs[first : first + batch]
        total += sum(len(part) * max(len(pair[side]) for pair in part) for side in (0, 1))
    return total


def _computed_tokens(pairs: Sequence[Pair]) -> int:
    """Tokens of all passes that plaudit makes, with the CPU's budget: what it counts when it scores."""
    sequences = [ids for pair in pairs for ids in pair]
    packing = pack_sequences(sequences, max_tokens=DEFAULT_MAX_TOKENS["cpu"])
    total = 0
    for first, last in packing.passes:
        part = packing.distinct[first:last]
        total += sum(map(len, part)) - int(common_prefix_lengths(part).sum())
    return total


def _units(pairs: Sequence[Pair], num_pairs: int, num_units: int) -> list[list[Pair]]:
    """Parts of the data with neighbours in the file as neighbours, spread evenly over it."""
    starts = np.linspace(0, max(len(pairs) - num_pairs, 0), num_units).astype(int)
    return [list(pairs[start : start + num_pairs]) for start in starts]


def _time(
    model: PreTrainedModel, data: Data, units: list[list[Pair]], rounds: int, max_rounds: int
) -> tuple[Timings, dict[str, float]]:
    scorer = Scorer(prepare_reward_model(copy.deepcopy(model), data.tokenizer), Renderer(data.tokenizer))
    source = TokenSource(scorer)
    sides: dict[str, Callable[[list[Pair]], np.ndarray]] = {
        _loop_name(batch): lambda unit, batch=batch: _loop(model, unit, batch) for batch in BATCHES
    }
    sides[PLAUDIT] = lambda unit: _run(source, unit)
    found = {name: score(units[0]) for name, score in sides.items()}
    expected = _loop(model, units[0], 1)
    timings = alternate(
        {name: lambda unit, score=score: score(units[unit]) for name, score in sides.items()},
        num_units=len(units),
        num_rounds=rounds,
        max_rounds=max_rounds,
    )
    return timings, {name: float(np.abs(rewards - expected).max()) for name, rewards in found.items()}


@torch.no_grad()
def _loop(model: PreTrainedModel, pairs: Sequence[Pair], batch: int) -> np.ndarray:
    """float32 [pair, 2]: chosen batch, rejected batch, in the order of the file, padded to the longest."""
    rewards = np.empty((len(pairs), 2), dtype=np.float32)
    for first in range(0, len(pairs), batch):
        part = pairs[first : first + batch]
        for side in (0, 1):
            ids = [torch.from_numpy(pair[side]).long() for pair in part]
            padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
            mask = torch.arange(padded.shape[1]) < torch.tensor([[len(row)] for row in ids])
            logits = model(input_ids=padded, attention_mask=mask.long()).logits
            rewards[first : first + batch, side] = logits[:, 0].numpy()
    return rewards


def _run(source: TokenSource, pairs: Sequence[Pair]) -> np.ndarray:
    """float32 [pair, 2], by the run's own way through the sequences."""
    sequences = [ids for pair in pairs for ids in pair]
    rewards = np.empty(len(sequences), dtype=np.float32)
    for chunk in source.score(sequences, source.chunks(sequences)):
        rewards[chunk.indices] = chunk.rewards
    return rewards.reshape(-1, 2)


def _rows(
    tokens: dict[str, int],
    num_given: int,
    timings: Timings,
    diffs: dict[str, float],
    units: list[list[Pair]],
    shape: str,
) -> list[dict[str, Any]]:
    num_sequences = timings.num_rounds * sum(2 * len(unit) for unit in units)
    return [
        {
            "benchmark": "eval_vs_loop",
            "data": "llmbar+humanevalpack+ultrafeedback",
            "model": shape,
            "precision": "fp32",
            "variant": name,
            "tokens": tokens[name],
            "given_tokens": num_given,
            "distinct_tokens": tokens[PLAUDIT],
            "median_s": timings.median_s(name),
            "total_s": timings.total_s(name),
            "sequences_per_s": num_sequences / timings.total_s(name),
            "ratio_spread": timings.ratio_spread(name, PLAUDIT) if name != PLAUDIT else None,
            "reward_diff": diffs[name],
            "notes": f"plaudit computes {tokens[name] / tokens[PLAUDIT]:.2f}x fewer tokens on all pairs and is "
            f"{timings.ratio(PLAUDIT, name):.2f}x faster on {len(units)} x {len(units[0])} pairs in "
            f"{timings.num_rounds} rounds; diffs are from one sequence at a time",
        }
        for name in timings.seconds
    ]


def _print(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(title=f"evaluating {rows[0]['data']}, model {rows[0]['model']}, fp32")
    for heading in (
        "side",
        "tokens",
        "x fewer",
        "median s",
        "total s",
        "x faster",
        "spread",
        "reward diff",
        "target",
    ):
        table.add_column(heading, justify="left" if heading in ("side", "target") else "right")
    ours = next(row for row in rows if row["variant"] == PLAUDIT)
    targets = {_loop_name(batch): target for batch, target in TARGETS.items()}
    for row in rows:
        fewer = row["tokens"] / ours["tokens"]
        target = targets.get(row["variant"])
        verdict = (
            ""
            if target is None
            else f"{target:.0f}x fewer tokens: {'reached' if fewer >= target else 'not reached'}"
        )
        table.add_row(
            row["variant"],
            f"{row['tokens']:,}",
            f"{fewer:.2f}",
            f"{row['median_s']:.3f}",
            f"{row['total_s']:.2f}",
            f"{row['total_s'] / ours['total_s']:.2f}",
            "" if row["ratio_spread"] is None else f"{row['ratio_spread']:.0%}",
            f"{row['reward_diff']:.1e}",
            verdict,
        )
    console.print(table)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-folder", type=Path, default=default_data_folder())
    parser.add_argument("--model", choices=list(SHAPES), default="s", help="shape (default: s)")
    parser.add_argument("--pairs", type=int, default=64, help="pairs in a unit of work")
    parser.add_argument("--units", type=int, default=4, help="units of work in a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max-rounds", type=int, default=4, help="more while a ratio spreads over a tenth")
    parser.add_argument("--max-records", type=int, default=None, help="only the first so many of each file")
    parser.add_argument(
        "--output", type=Path, default=None, help="append to this file instead of benchmarks/results.csv"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: nothing it prints says anything")
    options = parser.parse_args(argv)
    if options.quick:
        options.model, options.pairs, options.units, options.max_records = "tiny", 8, 2, 20
        options.rounds, options.max_rounds = 1, 1
    elif options.output is None:
        options.output = RESULTS
    return options


if __name__ == "__main__":
    try:
        main()
    except PlauditError as error:
        sys.exit(f"error: {error}")
