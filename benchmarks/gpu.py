"""Training steps on CUDA at 1B and 8B shapes: plaudit's backends against TRL with its best options.

Random weights in bfloat16 and AdamW; batches of made-up tokens with the lengths of real data. Per side: seconds,
pairs/s, tokens/s, peak memory, and utilisation: 6 operations per parameter and token over the time and the card's
dense bf16 rate, of the distinct tokens that have to be computed and of the nominal ones that TRL's rows have. Each
backend's rewards are compared with one sequence at a time first. Sides run one after the other, because two models
of 8B do not fit side by side.

    python benchmarks/gpu.py --shape 1b 8b
    python benchmarks/gpu.py --device cpu --shape tiny --quick    # all of it at small size, for the tests
    python benchmarks/gpu.py --write-lengths lengths.jsonl        # where the data is, to be taken along

Its rows are open: it has not been run on a GPU yet, and nothing is claimed of one.
"""

from __future__ import annotations

import argparse
import copy
import gc
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from rich.console import Console
from setting.corpus import default_data_folder, make_batches, pair_rows, read_corpus
from setting.lengths import LENGTHS, group_of_lengths, read_lengths
from setting.models import SHAPES, build_model, num_matrix_parameters
from setting.results import RESULTS, append_results
from setting.sides import PlauditSide, Side, TrlSide
from setting.tokenizer import train_tokenizer
from transformers import PreTrainedModel

from plaudit.errors import PlauditError
from plaudit.model import prepare_reward_model
from plaudit.tokens import TokenGroup
from plaudit.tree import build_tree_batch, num_distinct_tokens

PEAK_FLOPS = 790e12
"""Dense bf16 rate of an H200 (measured: one 8192 x 8192 x 8192 product, 788 TFLOP/s)."""

BACKENDS = {"cuda": ("flex", "varlen"), "cpu": ("sdpa",)}


def main(argv: Sequence[str] | None = None) -> None:
    options = _parse(argv)
    console = Console(width=150)
    if options.write_lengths is not None:
        return _write_lengths(options.write_lengths, options.data_folder)
    for shape, name in itertools.product(options.shape, options.data):
        batches = _make_batches(name, shape, options)
        for backend in BACKENDS[options.device]:
            difference = _difference_from_one_at_a_time(shape, batches[0], backend, options.device)
            console.print(f"{shape} {name} {backend}: rewards differ by {difference:.1e} from one at a time")
        rows = [_measure(shape, name, variant, batches, options) for variant in _variants(options.device)]
        for row in rows:
            console.print({key: value for key, value in row.items() if key not in ("benchmark", "notes")})
        if options.output is not None:
            append_results(options.output, rows, device=options.device)
    return None


def _variants(device: str) -> dict[str, tuple[str, bool]]:
    """(attention, checkpointing) by name; attention ``trl`` is the peer."""
    sides = {"TRL": ("trl", True), "TRL -ckpt": ("trl", False)}
    for backend in BACKENDS[device]:
        sides[f"plaudit {backend}"] = (backend, False)
        sides[f"plaudit {backend} +ckpt"] = (backend, True)
    return sides


def _make_batches(name: str, shape: str, options: argparse.Namespace) -> list[list[TokenGroup]]:
    rng = np.random.default_rng(0)
    lengths = read_lengths(name, options.lengths_from)
    vocabulary = SHAPES[shape]["vocab_size"]
    return [
        [group_of_lengths(*next(lengths), vocabulary=vocabulary, rng=rng) for _ in range(options.groups)]
        for _ in range(options.batches)
    ]


def _difference_from_one_at_a_time(
    shape: str, groups: Sequence[TokenGroup], backend: str, device: str
) -> float:
    """Largest difference of rewards, relative to their spread, of one batch as a tree."""
    sequences = [ids for group in groups[:4] for ids in group.sequences]
    model = _build(shape, device).eval()
    with torch.no_grad():
        alone = [
            model(input_ids=torch.tensor(ids, device=device)[None].long()).logits[0, 0] for ids in sequences
        ]
        expected = torch.stack(alone).float()
        rewards = prepare_reward_model(model, None, attention=backend).rewards(
            build_tree_batch(sequences).to(device)
        )
    return float((rewards - expected).abs().max() / expected.std())


def _build(shape: str, device: str) -> PreTrainedModel:
    return build_model(shape, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32)


def _measure(
    shape: str, name: str, variant: str, batches: list[list[TokenGroup]], options: argparse.Namespace
) -> dict[str, Any]:
    attention, checkpointing = _variants(options.device)[variant]
    with tempfile.TemporaryDirectory(prefix="plaudit-bench-") as scratch:
        side = _side(shape, batches, attention, checkpointing, Path(scratch), options.device)
        num_parameters = num_matrix_parameters(side.trainer.model)  # type: ignore[arg-type]
        seconds = _seconds(side, options.rounds, options.device)
    peak = torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else None
    num_distinct = sum(num_distinct_tokens([ids for g in batch for ids in g.sequences]) for batch in batches)
    num_nominal = sum(len(a) + len(b) for batch in batches for a, b in pair_rows(batch))
    num_pairs = sum(len(pair_rows(batch)) for batch in batches)
    total = float(np.sum(np.median(seconds, axis=0)))
    row = {
        "benchmark": "gpu",
        "data": name,
        "model": shape,
        "precision": "bf16",
        "variant": variant,
        "tokens": sum(side.num_tokens(index) for index in range(len(batches))),
        "given_tokens": num_nominal,
        "distinct_tokens": num_distinct,
        "median_s": float(np.median(seconds)),
        "total_s": total,
        "pairs_per_s": num_pairs / total,
        "peak_gib": peak,
        "mfu_distinct": 6 * num_parameters * num_distinct / total / PEAK_FLOPS,
        "mfu_nominal": 6 * num_parameters * num_nominal / total / PEAK_FLOPS,
        "notes": f"{len(batches)} batches of {options.groups} groups, lengths of {name}, random weights",
    }
    del side
    _release(options.device)
    return row


def _side(
    shape: str,
    batches: list[list[TokenGroup]],
    attention: str,
    checkpointing: bool,
    scratch: Path,
    device: str,
) -> Side:
    settings: dict[str, Any] = {
        "precision": "bf16",
        "checkpointing": checkpointing,
        "scratch": scratch,
        "on_cpu": device == "cpu",
    }
    model, tokenizer = _build(shape, device), train_tokenizer(["made-up tokens"])
    if attention == "trl":
        return TrlSide(model, tokenizer, copy.copy(batches), **settings)
    return PlauditSide(model, tokenizer, copy.copy(batches), attention=attention, **settings)


def _seconds(side: Side, num_rounds: int, device: str) -> np.ndarray:
    """Seconds of a step, [round, batch], after a warm-up round in which kernels are compiled."""
    wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else lambda: None
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for batch in range(side.num_batches):
        side.step(batch)
    seconds = np.empty((num_rounds, side.num_batches))
    for unit in np.ndindex(seconds.shape):
        wait()
        start = time.perf_counter()
        side.step(unit[1])
        wait()
        seconds[unit] = time.perf_counter() - start
    return seconds


def _release(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def _write_lengths(file: Path, data_folder: Path) -> None:
    """The lengths of the real data, as JSON lines without a word of it."""
    corpora = {"hh-rlhf": "hh-rlhf", "gsm8k": "gsm8k-groups", "ultrafeedback": "ultrafeedback"}
    with file.open("w", encoding="utf-8") as lines:
        for name, corpus in corpora.items():
            read = read_corpus(corpus, data_folder)
            for batch in make_batches(read, num_batches=32, batch_size=8):
                for group in batch:
                    num_prompt = group.num_prompt_tokens
                    lengths = [len(ids) - num_prompt for ids in group.sequences]
                    lines.write(
                        json.dumps({"data": name, "prompt": num_prompt, "completions": lengths}) + "\n"
                    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=tuple(BACKENDS), default="cuda")
    parser.add_argument("--shape", nargs="+", choices=tuple(SHAPES), default=["1b", "8b"])
    parser.add_argument("--data", nargs="+", choices=tuple(LENGTHS), default=list(LENGTHS))
    parser.add_argument("--lengths-from", type=Path, default=None, help="file that --write-lengths wrote")
    parser.add_argument("--write-lengths", type=Path, default=None, help="write the data's lengths and leave")
    parser.add_argument("--data-folder", type=Path, default=default_data_folder())
    parser.add_argument("--groups", type=int, default=32, help="groups a batch")
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS, help="file of results to append to")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run: little of everything, nothing kept"
    )
    options = parser.parse_args(argv)
    if options.quick:
        options.groups, options.batches, options.rounds, options.output = 4, 2, 1, None
    if options.device == "cuda" and not torch.cuda.is_available():
        error = PlauditError("no CUDA device", where="--device", fix="Use --device cpu --shape tiny --quick.")
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
