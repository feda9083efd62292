"""``make mutants``: plant one fault at a time in a copy of the package, and see a test go red for each.

A suite that stays green under a flipped loss sign proves nothing. Every fault of `faults.py` and
`evaluation_faults.py` names the tests that have to notice it; they are green on the copy without a fault first, so
that red means the fault was seen.

    python tests/mutants/run.py              all of them
    python tests/mutants/run.py margin eos   those whose names contain one of the words
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).parent))
from evaluation_faults import EVALUATION_FAULTS
from faults import FAULTS, Fault

ALL = (*FAULTS, *EVALUATION_FAULTS)
ROOT = Path(__file__).parents[2]
JOBS = int(os.environ.get("JOBS", "2"))
NOTHING_RAN = (2, 3, 4, 5)
"""pytest's exit codes for an interrupted or misused run, which would look like red."""


def main(words: list[str]) -> int:
    """0 when every fault was seen."""
    console = Console()
    chosen = [fault for fault in ALL if not words or any(word in fault.name for word in words)]
    if not chosen:
        console.print(f"No fault is named like {' or '.join(words)}.")
        return 2
    start = time.time()
    every_file = sorted({test for fault in chosen for test in fault.tests if test.endswith(".py")})
    if run_tests(None, every_file) != 0:
        console.print("[red]The tests are not green without a fault; mend them first (make test).")
        return 1
    with Progress(console=console) as progress, ThreadPoolExecutor(JOBS) as pool:
        bar = progress.add_task("planting faults", total=len(chosen))
        missed = []
        for fault, code in zip(chosen, pool.map(lambda f: run_tests(f, f.tests), chosen), strict=True):
            progress.advance(bar)
            seen = code != 0 and code not in NOTHING_RAN
            console.print(f"{'red  ' if seen else 'GREEN'}  {fault.name}")
            if not seen:
                missed.append(fault)
    console.print(
        f"{len(chosen) - len(missed)} of {len(chosen)} faults were seen, in {time.time() - start:.0f} s"
    )
    for fault in missed:
        console.print(f"[red]not seen: {fault.name}: {' '.join(fault.tests)}")
    return 1 if missed else 0


def run_tests(fault: Fault | None, tests: tuple[str, ...] | list[str]) -> int:
    """pytest's exit code on a copy of the package with a fault, or without one."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        if fault is not None:
            plant(fault, source / "plaudit")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        if fault is None:
            command[5:5] = ["-n", str(JOBS)]
        environment = os.environ | {"PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if fault is None and done.returncode != 0:
            print(done.stdout[-3000:], done.stderr[-1000:])
        return done.returncode


def plant(fault: Fault, package: Path) -> None:
    """Change the one place that the fault names.

    Raises:
        SystemExit: The text is not there exactly once: the code has changed, and the fault has to follow.
    """
    file = package / fault.file
    text = file.read_text("utf-8")
    if text.count(fault.old) != 1:
        raise SystemExit(
            f"{fault.name}: its text is {text.count(fault.old)} times in {fault.file}: {fault.old!r}"
        )
    file.write_text(text.replace(fault.old, fault.new), "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
