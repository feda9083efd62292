"""The file of results: one row per measurement, with what it was measured on, appended and never rewritten."""

from __future__ import annotations

import csv
import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from setting.corpus import PROJECT

__all__ = ["COLUMNS", "RESULTS", "append_results", "describe_machine"]

RESULTS = PROJECT / "benchmarks" / "results.csv"

COLUMNS = (
    *("date", "commit", "hardware", "cores", "torch", "transformers", "trl"),
    *("benchmark", "data", "model", "precision", "variant"),
    *("tokens", "given_tokens", "distinct_tokens", "median_s", "total_s"),
    *("tokens_per_s", "pairs_per_s", "sequences_per_s", "ratio_vs_trl"),
    *(
        "ratio_vs_trl_nockpt",
        "ratio_vs_pipeline",
        "ratio_vs_sorted",
        "ratio_spread",
        "reward_diff",
        "grad_diff",
        "grad_diff_l2",
    ),
    *("peak_gib", "mfu_distinct", "mfu_nominal", "notes"),
)
"""Empty where a benchmark does not measure it. ``ratio_*`` is how many times faster than that rival; ``tokens``
are computed ones (padding included), ``given_tokens`` those of all rows without padding, ``distinct_tokens`` those
of all distinct prefixes; ``*_diff`` the largest difference from one side in float32, as the notes say."""


def append_results(path: Path, rows: Sequence[Mapping[str, Any]], *, device: str = "cpu") -> None:
    """Append rows to a file of results, with the machine, the versions, the commit and the date."""
    common = describe_machine(device)
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, restval="", lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows({**common, **{name: _text(value) for name, value in row.items()}} for row in rows)


@cache
def describe_machine(device: str = "cpu") -> dict[str, str]:
    """What a measurement depends on besides the code."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "hardware": torch.cuda.get_device_name() if device.startswith("cuda") else _processor(),
        "cores": str(os.cpu_count() or 0),
        "torch": torch.__version__,
        "transformers": _version("transformers"),
        "trl": _version("trl"),
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The short hash of the checkout; ``+`` when files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
