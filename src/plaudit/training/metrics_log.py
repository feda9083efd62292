"""``metrics.jsonl``: every log line of a training run as one line of JSON, written as it happens.

The file holds what Trainer's history holds, plus the time of day, and outlives a run that is killed. A run that goes
on from a checkpoint first drops what came after that checkpoint, so that no step is there twice.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from transformers import TrainerCallback

from plaudit.errors import PlauditError
from plaudit.plain_json import as_plain
from plaudit.whole_file import write_whole

__all__ = ["METRICS_FILE", "MetricsLine", "MetricsLog", "read_metrics"]

METRICS_FILE = "metrics.jsonl"

MetricsLine: TypeAlias = Mapping[str, Any]
"""One log line: ``step``, ``epoch``, ``unix_time_s`` (seconds since 1970), and metrics by their logged names."""

log = logging.getLogger(__name__)


class MetricsLog(TrainerCallback):
    """Appends Trainer's log lines to ``output_dir/metrics.jsonl``, on the first process.

    Lines logged before ``train()`` (an evaluation of the untrained model) are kept and written when it begins;
    evaluating without training writes nothing.
    """

    def __init__(self) -> None:
        self._waiting: list[MetricsLine] = []
        self._file: Path | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the file; of one that is there, keep what the checkpoint had seen."""
        if not state.is_world_process_zero:
            return
        self._file = Path(args.output_dir) / METRICS_FILE
        resumes = state.global_step > 0
        lines = _lines_until(self._file, state.global_step, state.log_history) if resumes else self._waiting
        self._waiting = []
        write_whole(self._file, "".join(map(_as_text, lines)))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: MetricsLine | None = None, **kwargs: Any
    ) -> None:
        """Append one line."""
        if not state.is_world_process_zero or not logs:
            return
        line = {"step": state.global_step, "epoch": state.epoch, "unix_time_s": round(time.time(), 3)}
        line |= {name: value for name, value in logs.items() if name not in line}
        if self._file is None:
            self._waiting.append(line)
            return
        with self._file.open("a", encoding="utf-8") as file:
            file.write(_as_text(line))


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, or of the one in a run's folder; null comes back as NaN.

    A last line that broke off (the process was killed while it wrote) is left out, with a log line.

    Raises:
        PlauditError: There is no such file, or a line before the last is no JSON object.
    """
    file = Path(path) / METRICS_FILE if Path(path).is_dir() else Path(path)
    try:
        texts = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PlauditError(
            f"the metrics cannot be read ({error.strerror})",
            where=str(file),
            fix="Give the output folder of a training run.",
        ) from error
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            if not isinstance(line, dict):
                raise ValueError("not an object")
        except ValueError as error:
            if number == len(texts):
                log.warning("%s:%d: the last line broke off and is left out", file, number)
                break
            raise PlauditError(
                f"not a log line ({error})", where=f"{file}:{number}", fix="Remove the line."
            ) from error
        lines.append({name: math.nan if value is None else value for name, value in line.items()})
    return lines


def _lines_until(file: Path, step: int, history: Sequence[MetricsLine]) -> list[MetricsLine]:
    """What the file holds of a run up to a checkpoint at ``step``; the checkpoint's own history where it is empty.

    At the checkpoint's step itself a line counts only if the checkpoint knew it: what was logged after the save
    (the summary of a run that had ended) is logged again.
    """
    known = Counter(_signature(line) for line in history if line.get("step") == step)
    kept: list[MetricsLine] = []
    for line in read_metrics(file) if file.is_file() else []:
        if line["step"] < step:
            kept.append(line)
        elif line["step"] == step and known[_signature(line)] > 0:
            known[_signature(line)] -= 1
            kept.append(line)
    return kept or [{"step": line.get("step"), "unix_time_s": None} | dict(line) for line in history]


def _signature(line: MetricsLine) -> frozenset[str]:
    return frozenset(line) - {"step", "epoch", "unix_time_s"}


def _as_text(line: MetricsLine) -> str:
    return json.dumps(as_plain(line), ensure_ascii=False, allow_nan=False) + "\n"
