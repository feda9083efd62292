"""Which checkpoint a run can go on from: the last one that was written to its end.

A process that is killed while it saves leaves a folder without its last files. Trainer writes
``trainer_state.json`` at the end, so a folder whose state is readable and has the step of its name is whole.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

__all__ = ["last_whole_checkpoint"]

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
    return None if found == step else f"{STATE_FILE} says step {found}"
