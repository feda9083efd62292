"""Runs that are killed again and again, and what has to be true of them afterwards."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from stand_ins.forked import Ranks, start_ranks

__all__ = ["Kill", "draw_kills", "final_weights", "log_lines", "run_once", "run_with_kills"]

SCRIPT = Path(__file__).resolve().parents[1] / "training" / "kill_run.py"
KILLED = -9


@dataclass(frozen=True)
class Kill:
    """Which process dies, and when."""

    kind: str
    """``clock`` (from outside, so many seconds into the training), or one of the kinds of kill_run.py."""
    when: float | str
    """Seconds, a step, a number of files, or which change."""
    rank: int = 0


def draw_kills(num: int, num_processes: int, seed: int) -> list[Kill]:
    """Moments drawn at random: by the clock, while a checkpoint is written, before any change in the folder."""
    draw = random.Random(seed)
    kills = []
    for _ in range(num):
        kind = draw.choice(("clock", "save", "file"))
        rank = draw.randrange(num_processes) if kind == "clock" else 0  # the first process writes
        when = {
            "clock": draw.uniform(0.0, 1.2),
            "save": draw.uniform(0.0, 0.06),
            "file": draw.randrange(3, 50),
        }
        kills.append(Kill(kind, when[kind], rank))
    return kills


def run_once(
    model: Path,
    output: Path,
    *,
    engine: str = "single",
    num_processes: int = 1,
    max_steps: int = -1,
    moment: str = "",
    rank: int = 0,
    step_seconds: float = 0.0,
) -> Ranks:
    """Start the command once; the same arguments are the same command."""
    logs = output.with_name(f"{output.name}-logs") / str(time.monotonic_ns())
    arguments = [str(model), str(output), engine, moment, str(rank), str(max_steps)]
    environment = {"STEP_SECONDS": str(step_seconds)}
    return start_ranks(
        SCRIPT, arguments, num_processes=num_processes, log_folder=logs, environment=environment
    )


def run_with_kills(
    kills: Sequence[Kill], model: Path, output: Path, *, num_processes: int = 1, **settings: object
) -> list[str]:
    """The same command after each kill, and to its end after the last; what happened, a line for each start."""
    happened = []
    for kill in kills:
        is_outside = kill.kind == "clock"
        moment = "" if is_outside else f"{kill.kind}:{kill.when}"
        ranks = run_once(
            model, output, num_processes=num_processes, moment=moment, rank=kill.rank, **settings
        )  # type: ignore[arg-type]
        if is_outside:
            _wait_for_training(ranks)
            time.sleep(kill.when)
            ranks.kill(kill.rank)
        while ranks.processes[kill.rank].is_alive():
            time.sleep(0.01)
        since = time.monotonic()
        codes = ranks.wait(60)
        assert None not in codes, f"a process hangs after {kill}:\n{ranks.text()[-3000:]}"
        if codes[kill.rank] == KILLED:
            assert 0 not in codes, "a process ended well without its neighbour"
        else:
            assert set(codes) == {0}, ranks.text()[-3000:]
        happened.append(
            f"{_start_of(ranks)}, {kill}, codes {codes}, others after {time.monotonic() - since:.1f} s"
        )
    ranks = run_once(model, output, num_processes=num_processes, **settings)  # type: ignore[arg-type]
    assert set(ranks.wait(120)) == {0}, ranks.text()[-3000:]
    return [*happened, _start_of(ranks)]


def final_weights(output: Path) -> dict[str, torch.Tensor]:
    """Of the folder at the end; nothing half-written is beside it."""
    left = [path.name for path in (*output.iterdir(), *output.parent.glob(f".{output.name}*"))]
    assert not [name for name in left if name.startswith((".", "_")) and name != "_data"], left
    files = [output / name for name in ("model.safetensors", "adapter_model.safetensors")]
    return load_file(next(file for file in files if file.is_file()))


def log_lines(output: Path) -> list[tuple[int, tuple[str, ...]]]:
    """Step and names of what was logged, a pair for each line of ``metrics.jsonl``."""
    lines = [json.loads(text) for text in (output / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], tuple(sorted(line))) for line in lines]


def _wait_for_training(ranks: Ranks) -> None:
    deadline = time.monotonic() + 60
    while not all(path.exists() and "from " in path.read_text() for path in ranks.outputs):
        assert time.monotonic() < deadline, ranks.text()
        time.sleep(0.005)


def _start_of(ranks: Ranks) -> str:
    text = ranks.outputs[0].read_text()
    return next((line for line in text.splitlines() if line.startswith("from ")), "from nowhere")
