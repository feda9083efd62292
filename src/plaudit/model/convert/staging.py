"""A new folder that appears whole or not at all, whatever ends the process that writes it."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from plaudit.errors import PlauditError

__all__ = ["staged_folder"]


@contextlib.contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling to write into, which takes the folder's name once the block ends without an error.

    What a killed process left of the same folder is removed first; the sibling of one that runs is not.

    Raises:
        PlauditError: The folder is there already and has something in it.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PlauditError(
            "is there already", where=str(folder), fix="Name a new folder, or remove it first."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.part-*"):
        with _lock(left) as is_ours:
            if is_ours:
                shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
    try:
        with _lock(part):
            yield part
            part.chmod(0o755)
            os.rename(part, folder)  # over an empty folder, too
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold a folder, for as long as the process lives at most; False where another process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: nobody is asked
        yield True
        return
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:  # its own process has finished with it
        yield False
        return
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(number)
