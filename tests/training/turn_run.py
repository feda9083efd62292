"""Run by the test in two processes: the first one works for longer than their barriers wait."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path

from torch import distributed

from plaudit.processes import one_process_first


def main(file: Path) -> None:
    """Say whether what the first process makes was there."""
    distributed.init_process_group("gloo", timeout=timedelta(seconds=2))
    rank = distributed.get_rank()
    with one_process_first(rank == 0, of=0):
        if rank == 0:
            time.sleep(4)
            file.touch()
            print("0:made", flush=True)
        else:
            print("1:found" if file.exists() else "1:too early", flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
