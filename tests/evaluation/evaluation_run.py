"""Run by the tests: an evaluation of two sets in a folder; notes what it scores; kills itself where told.

Each chunk takes a second by its clock.

Moments to kill at: ``scored:3`` (a chunk is scored, and not yet written), ``torn:2`` (in the middle of writing
that chunk), ``file:5`` (before the fifth file or folder is made, renamed or removed after the scoring has begun).
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from plaudit.evaluation import reward_source
from plaudit.evaluation.reward_store import RewardStore
from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.preferences import read_preferences
from plaudit.scoring import Scorer
from stand_ins.folders import PAIRS


def die() -> None:
    """End as by the kernel's out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


class NotingScorer(Scorer):
    """Writes down each sequence that it scores."""

    notes: Path
    kill_at: int = 0
    num_calls: int = 0

    def score_sequences(self, sequences: Sequence[np.ndarray], **arguments: Any) -> np.ndarray:  # type: ignore[override]
        rewards = super().score_sequences(sequences, **arguments)
        with self.notes.open("a") as file:
            file.writelines(" ".join(map(str, ids)) + "\n" for ids in sequences)
        self.num_calls += 1
        if self.num_calls == self.kill_at:
            die()
        return rewards


def note_what_is_stored(notes: Path, scored: Path) -> None:
    """Write down what has been scored each time that the store says that it is on disk."""
    append = RewardStore.append

    def noted(self: RewardStore, *arguments: Any) -> None:
        append(self, *arguments)
        notes.write_text(scored.read_text())

    RewardStore.append = noted  # type: ignore[method-assign]


def kill_in_write(number: int, notes: Path) -> None:
    """Cut the n-th chunk short, as a kill in the middle of its write does."""
    fsync, seen = os.fsync, 0

    def cut(handle: int) -> None:
        nonlocal seen
        name = os.readlink(f"/proc/self/fd/{handle}")
        seen += name.endswith(".arrows")
        if seen == number:
            os.truncate(name, os.path.getsize(name) - 20)
            die()
        fsync(handle)

    os.fsync = cut


def kill_at_file(number: int, folder: str) -> None:
    """Die before the n-th change in the folder."""
    seen = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if not args or folder not in str(args[0]):
            return
        writes = (
            event == "open"
            and isinstance(args[1], str)
            and args[1][:1] in "wxa"
            and "seen" not in str(args[0])
        )
        writes = writes and "stored" not in str(args[0])
        if writes or event in ("os.mkdir", "os.rename", "os.remove", "tempfile.mkstemp"):
            seen += 1
            if seen == number:
                die()

    sys.addaudithook(hook)


def main(model: str, output: str, moment: str) -> None:
    """Evaluate; ``moment`` is empty for a run that is not killed."""
    rank = PartialState(cpu=True).process_index if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0
    out = Path(output)
    out.mkdir(parents=True, exist_ok=True)
    scorer = NotingScorer.from_pretrained(model, dtype=torch.float32, device="cpu", max_tokens_per_pass=64)
    assert isinstance(scorer, NotingScorer)
    scorer.notes = out / f"seen-{rank}"
    note_what_is_stored(out / f"stored-{rank}", scorer.notes)
    reward_source.time = SimpleNamespace(perf_counter=itertools.count().__next__)  # type: ignore[assignment]
    kind, _, number = moment.partition(":")
    if kind == "scored":
        scorer.kill_at = int(number)
    if kind == "torn":
        kill_in_write(int(number), scorer.notes)
    sets = [
        EvaluationSet(
            name=name, preferences=read_preferences(list(pairs), transcripts="text", progress=False)
        )
        for name, pairs in (("one", PAIRS[:40]), ("two", PAIRS[30:]))
    ]
    if kind == "file":
        kill_at_file(int(number), output)
    evaluate_suites(scorer, sets, output_dir=out, progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:4])
