"""``--num-processes``: the command starts itself several times, by the launcher behind torchrun.

Guarantees: the first process writes to the terminal as if it were alone; the others are heard when one of them is the
first to fail; a signal is passed on to each of them, and how they end is how the command ends: the exit status is that
of the first to fail, or 0.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
from rich.text import Text

from plaudit.cli.console import messages
from plaudit.cli.running import EXIT_INTERRUPTED, EXIT_USER_ERROR
from plaudit.errors import PlauditError
from plaudit.training.interruption import EXIT_PREEMPTED
from plaudit.training.parallel import is_launched

__all__ = ["launch", "num_to_launch"]

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
"""Passed on to all processes; SIGUSR1 is SLURM's announcement of SIGTERM."""

ENDED_AS_TOLD = (EXIT_INTERRUPTED, EXIT_PREEMPTED)
"""Statuses that need no word of the launcher."""

MAX_LINES = 60
"""Lines shown of a failed process that is not the first (assumed: a traceback)."""

log = logging.getLogger(__name__)


def num_to_launch(asked: int | None) -> int:
    """How many processes to start: 1 where none were asked for, or a launcher has started this one already.

    Raises:
        PlauditError: The number is below 1.
    """
    num_tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if num_tasks > 1 and not is_launched():
        raise PlauditError(
            f"srun has started the same run {num_tasks} times",
            where="srun",
            fix="Let srun start one torchrun a node, as examples/launch/slurm.sbatch does.",
        )
    if asked is None:
        return 1
    if asked < 1:
        raise PlauditError(f"{asked} processes", where="--num-processes", fix="Give a number above 0.")
    if not is_launched():
        return asked
    started = os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1"))
    if started != str(asked):
        log.warning("--num-processes %d has no effect: a launcher has started %s here", asked, started)
    return 1


def launch(num_processes: int, words: Sequence[str]) -> int:
    """Run ``plaudit WORDS`` in so many processes on this machine; returns the exit status of the first to fail, or 0.

    Args:
        num_processes: 1 or more; on GPUs as many as there are GPUs to use.
        words: What comes after ``plaudit``.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _num_cores() // num_processes)))
    # Its tables would stand below the error.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="plaudit-run-"))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle="SIGUSR2",  # else it ends them by itself, and does not say how they ended
        logs_specs=DefaultLogsSpecs(
            log_dir=str(folder), redirects=dict.fromkeys(range(1, num_processes), Std.ALL)
        ),
    )
    try:
        with _passing_signals_on():
            elastic_launch(config, sys.executable)("-m", "plaudit.cli", *words)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        status = failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
        said_by_first = (
            status == EXIT_USER_ERROR and 0 in failed.failures and failed.failures[0].exitcode == status
        )
        if rank != 0 and not said_by_first and status not in ENDED_AS_TOLD:
            _show(folder, rank, status, num_processes)
        return status
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


@contextmanager
def _passing_signals_on() -> Iterator[None]:
    """Inside, a signal goes to each process that this one has started; before there is one, it ends this one."""
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]

    def pass_on(number: int, frame: FrameType | None) -> None:
        children = psutil.Process().children()
        if not children:
            raise SystemExit(128 + number)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _num_cores() -> int:
    """Cores that this process may use: fewer than the machine has under SLURM and in containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _show(folder: Path, rank: int, status: int, num_processes: int) -> None:
    """What a process wrote to standard error, and how it ended."""
    for file in sorted(folder.glob(f"**/{rank}/stderr.log")):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-MAX_LINES:]
        messages().print(Text("\n".join(lines)), soft_wrap=True)
    what = f"process {rank} of {num_processes} was the first to fail, with status {status}"
    messages().print(Text.assemble(("error: ", "bold red"), what), soft_wrap=True)
