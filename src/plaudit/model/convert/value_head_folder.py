"""A trained model that was just saved with a score head, written as LLaMA-Factory reads it."""

from __future__ import annotations

import logging
from pathlib import Path

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import inspect_checkpoint
from plaudit.model.convert.locations import model_folder
from plaudit.model.convert.targets import ConversionOptions
from plaudit.model.convert.writing import write_converted
from plaudit.model.tensor_names import LANGUAGE_HEADS

__all__ = ["write_with_value_head"]

log = logging.getLogger(__name__)


def write_with_value_head(saved: Path, folder: Path, *, base: str, value_head_format: str) -> None:
    """Write what a folder with a score head holds into another one with a value head.

    Args:
        saved: A whole model or an adapter, with its head's bias.
        folder: Where to; it is there.
        base: What training started from; its language-model head is taken where it is there and has one.
        value_head_format: ``safetensors`` or ``bin``.
    """
    options = ConversionOptions(
        to="value-head",
        bias="keep",
        value_head_format=value_head_format,
        language_head_from=base if _has_language_head(base) else None,
    )
    for note in write_converted(inspect_checkpoint(saved), folder, options).notes:
        log.info("%s", note)


def _has_language_head(base: str) -> bool:
    if not base:
        return False
    try:
        files = inspect_checkpoint(model_folder(base)).open_tensors()
    except PlauditError:
        return False
    return any(name.startswith(LANGUAGE_HEADS) for name in files.names())
