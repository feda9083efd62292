"""Where a model's files are: a folder, or the hub's cache after they were fetched; and an adapter's base."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from plaudit.errors import PlauditError
from plaudit.model.hub_files import local_folder

__all__ = ["adapter_config_of", "base_folder", "model_folder"]

SMALL_PATTERNS = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.py")


def model_folder(path_or_id: str | Path, *, revision: str | None = None) -> Path:
    """The local folder of a model, with its weights and what stands beside them.

    Raises:
        PlauditError: Neither a folder nor a model that can be fetched.
    """
    folder = local_folder(str(path_or_id), revision=revision)
    if not Path(path_or_id).is_dir():
        snapshot_download(str(path_or_id), revision=revision, allow_patterns=list(SMALL_PATTERNS))
    return folder


def adapter_config_of(folder: Path) -> dict[str, Any]:
    """What ``adapter_config.json`` says.

    Raises:
        PlauditError: It is no JSON object.
    """
    file = folder / "adapter_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlauditError(f"not JSON ({error})", where=str(file), fix="Copy the adapter again.") from error
    if not isinstance(config, dict):
        raise PlauditError("not a JSON object", where=str(file), fix="Copy the adapter again.")
    return config


def base_folder(adapter: Path) -> Path:
    """The folder of the model that an adapter was trained on.

    Raises:
        PlauditError: The adapter does not name it, or it is not there.
    """
    config = adapter_config_of(adapter)
    name = config.get("base_model_name_or_path")
    if not name:
        raise PlauditError(
            "the adapter does not say what it was trained on (base_model_name_or_path is empty)",
            where=str(adapter / "adapter_config.json"),
            fix="Write the base model's path or hub id there.",
        )
    beside = adapter / name
    if beside.is_dir():
        return Path(os.path.normpath(beside))
    try:
        return model_folder(name, revision=config.get("revision"))
    except PlauditError as error:
        raise PlauditError(
            f"the base model {name!r} is neither a local folder nor a model that can be fetched",
            where=str(adapter / "adapter_config.json"),
            fix="Write its new place into base_model_name_or_path there (relative to the adapter is fine).",
        ) from error
