"""Resident memory of converting a checkpoint of 2 GB in shards, without and with the proof.

Writes a Llama-shaped reward model with random weights into a scratch folder, in shards, and converts it to OpenRLHF's
format twice. Each conversion runs in a process of its own; what is counted is the peak resident memory (VmHWM, file
pages included) above that of the same process once everything is imported. Fails above the limits.

    python benchmarks/convert_memory.py --gigabytes 2 --dtype bfloat16
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from plaudit.model.convert import convert_checkpoint

MIB = 1 << 20
HIDDEN, VOCABULARY, WIDE = 2048, 32_000, 5632
SHARD_BYTES = 500 * 10**6
LIMITS_MIB = {False: 1024, True: 3072}
"""Above the imports, without and with the proof (the project's bounds)."""


def main() -> None:
    arguments = _parse()
    if arguments.scratch is not None:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="convert-memory-", dir=arguments.scratch))
    try:
        source = scratch / "source"
        _in_child(lambda: _write(source, arguments.gigabytes, getattr(torch, arguments.dtype)))
        size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
        shards = len(list(source.glob("model-*.safetensors")))
        print(f"source: {size / 1e9:.2f} GB of {arguments.dtype} in {shards} files", flush=True)
        codes = [
            _in_child(lambda prove=prove: _measure(source, scratch / f"new-{prove}", prove))
            for prove in (False, True)
        ]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(max(codes))


def _measure(source: Path, folder: Path, prove: bool) -> None:
    """Convert once; print the peak above the imports."""
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    done = convert_checkpoint(source, folder, to="openrlhf", prove=prove, max_shard_bytes=SHARD_BYTES)
    seconds = time.perf_counter() - start
    peak = _memory("VmHWM") - before
    name = "with the proof" if prove else "without proof"
    print(
        f"{name:15} {seconds:7.1f} s   peak {peak / MIB:7,.0f} MiB above the imports ({before / MIB:,.0f} MiB); "
        f"{LIMITS_MIB[prove]:,} MiB allowed" + (f"; {done.proof.line()}" if done.proof else ""),
        flush=True,
    )
    shutil.rmtree(folder)
    if peak > LIMITS_MIB[prove] * MIB:
        os._exit(1)


def _write(folder: Path, gigabytes: float, dtype: torch.dtype) -> None:
    """A reward model of about this size, its tensors drawn one shard at a time."""
    per_layer = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * WIDE
    num_layers = round((gigabytes * 1e9 / dtype.itemsize - VOCABULARY * HIDDEN) / per_layer)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=HIDDEN,
        intermediate_size=WIDE,
        num_hidden_layers=num_layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        vocab_size=VOCABULARY,
        num_labels=1,
        pad_token_id=0,
        eos_token_id=2,
        dtype=dtype,
        architectures=["LlamaForSequenceClassification"],
    )
    folder.mkdir()
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {
            n: p.shape for n, p in AutoModelForSequenceClassification.from_config(config).named_parameters()
        }
    shard: dict[str, torch.Tensor] = {}
    weight_map: dict[str, str] = {}
    for number, (name, shape) in enumerate(shapes.items()):
        shard[name] = (
            torch.randn(shape, dtype=dtype) * 0.02 if len(shape) > 1 else torch.ones(shape, dtype=dtype)
        )
        if sum(t.nbytes for t in shard.values()) > SHARD_BYTES or number == len(shapes) - 1:
            file = f"model-{len(set(weight_map.values())) + 1:05}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(shard, file)
            shard = {}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )


def _in_child(work: Callable[[], object]) -> int:
    """Do the work in a forked process; its exit status."""
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _memory(name: str) -> int:
    """A figure of the kernel's for this process, in bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == f"{name}:")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the scratch files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
