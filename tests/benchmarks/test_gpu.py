"""The GPU benchmark runs, at small size and on a CPU, from made-up lengths."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_every_part_of_the_gpu_benchmark_runs_at_small_size(tmp_path: Path) -> None:
    lengths = tmp_path / "lengths.jsonl"
    rows = [{"data": "hh-rlhf", "prompt": 20 + i, "completions": [9, 5 + i]} for i in range(8)]
    lengths.write_text("\n".join(map(json.dumps, rows)))
    arguments = [
        "--device",
        "cpu",
        "--shape",
        "tiny",
        "--quick",
        "--data",
        "hh-rlhf",
        "--lengths-from",
        str(lengths),
    ]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    difference = re.search(r"rewards differ by (\S+) from one at a time", done.stdout)
    assert difference is not None and float(difference[1]) < 1e-4
    assert [done.stdout.count(f"'variant': '{name}'") for name in ("TRL", "TRL -ckpt", "plaudit sdpa")] == [
        1
    ] * 3
    # Two batches of four groups: prompts 20 to 27, answers 9 and 5 to 12.
    nominal = sum(2 * (20 + i) + 9 + 5 + i for i in range(8))
    distinct = sum(20 + i + 9 + 5 + i for i in range(8))
    assert f"'given_tokens': {nominal}" in done.stdout
    assert f"'distinct_tokens': {distinct}" in done.stdout
