"""Saving a reward model as plain transformers, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from plaudit.model.record import ModelRecord

__all__ = ["save_reward_model", "whole_folder"]


def save_reward_model(
    model: PreTrainedModel,
    folder: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    record: ModelRecord | None = None,
    state_dict: dict[str, Tensor] | None = None,
) -> None:
    """Write a folder that ``AutoModelForSequenceClassification`` loads with the same rewards.

    Args:
        model: The reward model.
        folder: Where to. An interrupted save leaves what was there before.
        tokenizer: Written beside it with its chat template.
        record: Written as ``plaudit.json``.
        state_dict: The weights, where they were gathered from several processes.
    """
    with whole_folder(Path(folder)) as part:
        model.save_pretrained(part, state_dict=state_dict)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
        if record is not None:
            record.write(part)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling to write into, which takes the folder's place once the block ends without an error.

    A folder that is new appears at once. Into one that exists the files are moved one by one, the config last, so
    that other things in it (checkpoints of the run) stay.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
    try:
        yield part
        part.chmod(0o755)
        if not folder.exists():
            os.rename(part, folder)
            return
        for file in sorted(part.iterdir(), key=lambda entry: entry.name == "config.json"):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
