"""Which share of a GPU's peak a run reaches: from a measured row of this project's benchmarks, or assumed."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from plaudit.planning.gpus import Gpu

__all__ = ["ASSUMED_UTILISATION", "Utilisation", "find_utilisation"]

ASSUMED_UTILISATION = 0.40
"""Share of the dense bfloat16 peak in matrix products (assumed: what well-tuned training of dense models reports)."""

ASSUMED_ON_CPU = 0.6
"""Share of what linear layers alone reach on the CPU (assumed)."""

_WITH_RECOMPUTATION = 8 / 6
"""Operations with gradient checkpointing over those that a row counts: 2 more per parameter and token."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([bm])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Utilisation:
    """A share and where it is from."""

    share: float
    """Of the peak, above 0; what checkpointing computes again counted."""
    source: str
    """``assumed``, ``given``, or the row."""


def find_utilisation(
    gpu: Gpu, *, num_parameters: int, checkpointing: bool, given: float | None, results: Path | None
) -> Utilisation:
    """The share to plan with.

    Args:
        gpu: The GPU type.
        num_parameters: Of the model: of several rows that of the nearest size counts.
        checkpointing: Rows are with or without.
        given: What the user says; used as it is.
        results: ``benchmarks/results.csv``; None or no such file looks nothing up.
    """
    if given is not None:
        return Utilisation(share=given, source="given")
    found = _rows(gpu, results, checkpointing) if results is not None and results.is_file() else []
    if found:
        line, row = min(found, key=lambda entry: _distance(entry[1], num_parameters))
        assert results is not None
        name = f"{row['date']}, {row['model']} on {row['data']}, {row['variant']}"
        counted = _WITH_RECOMPUTATION if checkpointing else 1.0
        return Utilisation(
            share=float(row["mfu_distinct"]) * counted,
            source=f"measured: {results.name} line {line} ({name})",
        )
    return Utilisation(share=ASSUMED_ON_CPU if gpu.name == "cpu" else ASSUMED_UTILISATION, source="assumed")


def _rows(gpu: Gpu, results: Path, checkpointing: bool) -> list[tuple[int, dict[str, str]]]:
    """plaudit's rows on this GPU with a utilisation, with the number of their line."""
    with results.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = gpu.name.split("-")[0]
    return [
        (line, row)
        for line, row in enumerate(rows, start=2)
        if wanted in row["hardware"].lower()
        and row["variant"].startswith("plaudit")
        and row.get("mfu_distinct")
        and ("ckpt" in row["variant"]) == checkpointing
    ]


def _distance(row: dict[str, str], num_parameters: int) -> float:
    size = _SIZE.fullmatch(row["model"])
    if size is None:
        return math.inf
    number = float(size[1]) * (1e9 if size[2] == "b" else 1e6)
    return abs(math.log(number / num_parameters))
