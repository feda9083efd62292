"""Where a model's files are: a folder, or the hub's cache after they were fetched; and an adapter's base."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from plaudit.errors import PlauditError
from plaudit.model.adapter_base import folder_of_base
from plaudit.model.hub_files import local_folder

__all__ = ["adapter_config_of", "base_folder", "model_folder", "with_absolute_base"]

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
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    return folder_of_base(adapter, name, revision=revision, fetch=model_folder)


def with_absolute_base(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An adapter's config that holds in any other folder, too: a path to its base is made absolute.

    Args:
        config: What ``adapter_config.json`` says.
        folder: Where it is.
    """
    name = config.get("base_model_name_or_path")
    # A path that is relative to the adapter's folder, or to where its training ran.
    for place in (folder / str(name), Path(str(name))):
        if name and place.is_dir():
            return config | {"base_model_name_or_path": os.path.abspath(place)}
    return config
