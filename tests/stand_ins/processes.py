"""Scripts of the tests, run in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run_script", "script_environment"]

TESTS = Path(__file__).resolve().parents[1]


def script_environment() -> dict[str, str]:
    """This process's environment, with ``tests`` first on Python's path and what was there behind it."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run_script(
    script: Path, arguments: Sequence[str], *, num_processes: int = 1, timeout: float = 240
) -> str:
    """Run a script to its end, under torchrun where there are several processes; returns standard output."""
    launcher = [sys.executable]
    if num_processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launcher += [
            "-m",
            "torch.distributed.run",
            f"--nproc-per-node={num_processes}",
            f"--master-port={port}",
        ]
    done = subprocess.run(
        [*launcher, str(script), *arguments],
        env=script_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
