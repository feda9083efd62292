"""Checkpoints that are whole or not there: written under another name, put into place at once, removed at once.

A folder ``checkpoint-<step>`` appears when everything in it is on the disk, and disappears before the first of its
files does. What a killed process leaves is under ``_saving`` in the run's folder, where nothing reads it, and the next
start removes it. The state file is looked at all the same, for folders that were copied or written by others.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "STAGING",
    "flush_to_disk",
    "last_whole_checkpoint",
    "put_into_place",
    "remove_leftovers",
    "remove_old_checkpoints",
]

OPTIMIZER_FILES = ("optimizer.pt", "optimizer.bin", "optimizer_0", "latest")
"""Where Trainer, FSDP1, FSDP2 and DeepSpeed keep the optimiser's state, or name the folder that does."""

STAGING = "_saving"
"""Folder inside the run's in which checkpoints are written and removed; the hub's upload leaves it out by its ``_``."""

REPLACED = "replaced-"
"""Before the name of a checkpoint that made room for a new one of the same step."""

STATE_FILE = "trainer_state.json"
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")

log = logging.getLogger(__name__)


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The whole ``checkpoint-<step>`` of a run's folder with the highest step; None where there is none.

    Half-written ones above it are left alone, with one log line each.

    >>> last_whole_checkpoint(Path("no-such-folder")) is None
    True
    """
    for step, checkpoint in _checkpoints(folder):
        damage = _what_is_wrong(checkpoint, step)
        if damage is None:
            return checkpoint
        log.warning("%s is not whole (%s), so it is not continued from", checkpoint, damage)
    return None


def put_into_place(part: Path, folder: Path) -> None:
    """Give a checkpoint that is on the disk its name; one of the same name is there until then, and then gone.

    Args:
        part: Inside the run's `STAGING`.
        folder: The ``checkpoint-<step>`` that it becomes.
    """
    replaced = part.with_name(REPLACED + folder.name)
    if folder.exists():
        _remove(replaced)
        folder.rename(replaced)
    part.rename(folder)
    _flush(folder.parent)
    _remove(replaced)
    _remove_if_empty(part.parent)


def remove_old_checkpoints(folder: Path, *, keep: int | None, protected: tuple[Path | None, ...]) -> None:
    """Remove the lowest steps of a run until ``keep`` checkpoints are left; all stay where ``keep`` is None or 0.

    Args:
        folder: The run's.
        keep: ``save_total_limit``.
        protected: Stay whatever their step: the newest, and the best one.
    """
    checkpoints = [checkpoint for _, checkpoint in _checkpoints(folder)]
    if not keep or keep < 1:
        return
    stay = {path.resolve() for path in protected if path is not None}
    num_over = len(checkpoints) - max(keep, len(stay))
    for checkpoint in reversed(checkpoints):
        if num_over > 0 and checkpoint.resolve() not in stay:
            num_over -= 1
            (folder / STAGING).mkdir(exist_ok=True)
            gone = folder / STAGING / f"old-{checkpoint.name}"
            _remove(gone)
            checkpoint.rename(gone)
            _remove(gone)
    _remove_if_empty(folder / STAGING)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left of checkpoints and of the model; put back what was about to be replaced.

    Args:
        folder: The run's output folder, of which no process is writing now.
    """
    for replaced in (folder / STAGING).glob(f"{REPLACED}checkpoint-*"):
        original = folder / replaced.name.removeprefix(REPLACED)
        if not original.exists():
            replaced.rename(original)
    _remove(folder / STAGING)
    # Folders that `plaudit.model.saving.whole_folder` had not finished.
    name = glob.escape(folder.absolute().name)
    for part in folder.absolute().parent.glob(f".{name}.part-*"):
        _remove(part)


def flush_to_disk(folder: Path) -> None:
    """Wait until all files of a folder are on the disk, so that they outlive the machine's end, too.

    Raises:
        OSError: The disk is full, where a file system notices that late.
    """
    for path in _files(folder):
        _flush(path)


def _files(folder: Path) -> Iterator[Path]:
    """Everything inside, then the folder."""
    yield from folder.rglob("*")
    yield folder


def _flush(path: Path) -> None:
    try:
        number = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # a temporary file of another process
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # not every file system can
            raise
    finally:
        os.close(number)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Steps and folders, the highest step first."""
    if not folder.is_dir():
        return []
    named = [(CHECKPOINT_NAME.fullmatch(entry.name), entry) for entry in folder.iterdir() if entry.is_dir()]
    return sorted(((int(match[1]), entry) for match, entry in named if match), reverse=True)


def _what_is_wrong(checkpoint: Path, step: int) -> str | None:
    """Why a checkpoint is not whole; None when it is."""
    try:
        state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"it has no {STATE_FILE}"
    except (OSError, ValueError) as error:
        return f"{STATE_FILE} cannot be read: {error}"
    found = state.get("global_step") if isinstance(state, dict) else None
    if found != step:
        return f"{STATE_FILE} says step {found}"
    if not any((checkpoint / name).exists() for name in OPTIMIZER_FILES):
        return "it has no optimiser's state (--save-only-model)"
    return None
