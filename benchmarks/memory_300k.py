"""Resident memory of reading, tokenising and sampling a preference file that would not fit in Python objects.

Repeats UltraFeedback to the asked number of pairs in a scratch file, reads it, tokenises it with a BPE
tokenizer trained on the spot, and samples random batches. After each stage it prints the seconds, the peak
resident memory of the stage (VmHWM, file pages included) and the anonymous part (RssAnon). Fails above the
limit.

    python benchmarks/memory_300k.py --pairs 300000
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from plaudit.preferences import read_preferences
from plaudit.tokens import LengthLimits, Renderer, TokenTable, tokenize_preferences

PROJECT = Path(__file__).resolve().parents[1]
VOCAB_SIZE = 16_384
NUM_BATCHES = 1_000
BATCH_SIZE = 8
MIB = 1 << 20


def main() -> None:
    arguments = _parse()
    scratch = Path(tempfile.mkdtemp(prefix="memory-300k-", dir=arguments.scratch))
    try:
        peak = _measure(arguments, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    limit = arguments.limit_mib * MIB
    print(f"peak resident memory {peak / MIB:,.0f} MiB of {arguments.limit_mib:,} MiB allowed")
    sys.exit(0 if peak <= limit else 1)


def _measure(arguments: argparse.Namespace, scratch: Path) -> int:
    """Run the stages; the highest peak of them all, in bytes."""
    peaks: list[int] = []
    source = arguments.data / "ultrafeedback" / "train.jsonl"
    with _stage("imports", peaks):
        pass
    with _stage("write", peaks):
        path = _repeat(source, scratch / "pairs.jsonl", arguments.pairs)
    with _stage("train the tokenizer", peaks):
        tokenizer = _train_tokenizer(source)
    with _stage("read", peaks):
        preferences = read_preferences(path, cache_dir=scratch, on_bad_record="skip", progress=False)
    with _stage("tokenise", peaks):
        table = tokenize_preferences(
            preferences,
            Renderer(tokenizer),
            LengthLimits(max_length=2048, on_overlength="truncate-prompt"),
            num_proc=arguments.num_proc,
            cache_dir=scratch,
            progress=False,
        )
    assert isinstance(table, TokenTable)
    with _stage(f"sample {NUM_BATCHES:,} batches of {BATCH_SIZE}", peaks):
        num_tokens = _sample(table)
    print(*table.report.summary(), f"{num_tokens:,} tokens sampled", sep="\n")
    return max(peaks)


def _sample(table: TokenTable) -> int:
    generator = np.random.default_rng(0)
    num_tokens = 0
    for _ in range(NUM_BATCHES):
        indices = generator.integers(len(table), size=BATCH_SIZE)
        num_tokens += sum(len(ids) for index in indices for ids in table[int(index)].sequences)
    return num_tokens


def _repeat(source: Path, target: Path, num_pairs: int) -> Path:
    """The lines of `source` again and again, each time with another number in front of the prompt."""
    lines = source.read_text(encoding="utf-8").splitlines()
    with target.open("w", encoding="utf-8") as file:
        for number, line in enumerate(islice(cycle(lines), num_pairs)):
            record = json.loads(line)
            prompt = f"{number}. {record['prompt']}"
            pair = {"prompt": prompt, "chosen": record["chosen"], "rejected": record["rejected"]}
            file.write(json.dumps(pair) + "\n")
    return target


def _train_tokenizer(source: Path) -> PreTrainedTokenizerFast:
    with source.open(encoding="utf-8") as file:
        texts = [json.loads(line)["chosen"] for line in file]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="<pad>")


@contextmanager
def _stage(name: str, peaks: list[int]) -> Iterator[None]:
    """Time a stage and print its peak; the kernel's high-water mark is reset in front of it."""
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    memory = _memory()
    peaks.append(memory["VmHWM"])
    print(
        f"{name:32} {seconds:8.1f} s   peak {memory['VmHWM'] / MIB:7,.0f} MiB   "
        f"now {memory['VmRSS'] / MIB:7,.0f} MiB, of it anonymous {memory['RssAnon'] / MIB:7,.0f} MiB",
        flush=True,
    )


def _memory() -> dict[str, int]:
    """The kernel's figures for this process, in bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=300_000)
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data")
    parser.add_argument("--num-proc", type=int, default=1)
    parser.add_argument("--limit-mib", type=int, default=2048)
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the scratch files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
