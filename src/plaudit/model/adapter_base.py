"""The base of an adapter: where it is, and the model that the adapter is put on.

A folder that plaudit wrote says in its ``config.json`` what the whole model is; the base is loaded to fit it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from plaudit.errors import PlauditError
from plaudit.model.adapter import require_peft
from plaudit.model.checkpoint import inspect_checkpoint
from plaudit.model.hub_files import local_folder
from plaudit.model.quantization import with_head_kept_out
from plaudit.model.readers import WHOLE_READERS
from plaudit.model.reading import LoadedRewardModel, ReadRequest

__all__ = ["base_source", "folder_of_base", "place_of_base", "read_base", "read_peft_config"]


def base_source(folder: Path) -> str:
    """Where the base of an adapter folder is: a local path where there is one by that name, else a hub id.

    Raises:
        PlauditError: The folder's config is not peft's, or does not name a base.
    """
    require_peft("a model with an adapter")
    return place_of_base(folder, read_peft_config(folder).base_model_name_or_path)


def read_peft_config(folder: Path) -> Any:
    """The config of peft in an adapter folder.

    Raises:
        PlauditError: It is none, or of a method that this peft does not have.
    """
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(folder))
    except (ValueError, KeyError, TypeError) as error:
        raise PlauditError(
            f"not a config of peft ({type(error).__name__}: {error})",
            where=str(folder / "adapter_config.json"),
            fix="Copy the adapter again, or upgrade peft.",
        ) from error


def read_base(request: ReadRequest, config: Any) -> LoadedRewardModel:
    """The base that an adapter names, in any format without an adapter; a head that it lacks is drawn.

    Args:
        request: For the adapter's folder.
        config: The adapter's config of peft.

    Raises:
        PlauditError: The base is not there, cannot be read, or is an adapter itself.
    """
    adapter = request.facts.path
    source = place_of_base(adapter, config.base_model_name_or_path)
    folder = folder_of_base(adapter, config.base_model_name_or_path, revision=config.revision)
    facts = inspect_checkpoint(folder, head_key=request.facts.base_head_key)
    if facts.format not in WHOLE_READERS:
        raise PlauditError(
            f"the base of the adapter is of the format {facts.format!r}, and an adapter needs a whole model",
            where=source,
            fix="Merge the base first.",
        )
    kwargs = dict(request.kwargs) | {"revision": config.revision}
    described = request.facts.config
    if kwargs["dtype"] == "auto" and (dtype := described.get("dtype")):
        kwargs["dtype"] = getattr(torch, dtype)
    if "quantization_config" not in kwargs and "quantization_config" not in facts.config:
        kwargs |= _quantization_of(described)
    return WHOLE_READERS[facts.format](
        dataclasses.replace(
            request,
            source=source,
            facts=facts,
            allow_fresh_head=True,
            attributes=request.attributes or _attributes_of(described),
            kwargs=kwargs,
        )
    )


def place_of_base(adapter: Path, name: str | None) -> str:
    """Where the base is: a path relative to the adapter, another path, or a hub id.

    Args:
        adapter: The adapter's folder.
        name: The ``base_model_name_or_path`` of its config.

    Raises:
        PlauditError: There is no name.
    """
    if not name:
        raise PlauditError(
            "the adapter does not say what it was trained on (base_model_name_or_path is empty)",
            where=str(adapter / "adapter_config.json"),
            fix="Write the base model's path or hub id there.",
        )
    beside = adapter / name
    return os.path.normpath(beside) if beside.is_dir() else name


def folder_of_base(
    adapter: Path,
    name: str | None,
    *,
    revision: str | None = None,
    fetch: Callable[..., Path] = local_folder,
) -> Path:
    """The local folder of the base, fetched where it is a model of the hub.

    Args:
        adapter, name: As in `place_of_base`.
        revision: Of a model of the hub.
        fetch: What fetches it, called with the place and ``revision``.

    Raises:
        PlauditError: There is no name, or no model by it.
    """
    source = place_of_base(adapter, name)
    try:
        return fetch(source, revision=revision)
    except PlauditError as error:
        raise PlauditError(
            f"the base model {source!r} is {error.what}",
            where=str(adapter / "adapter_config.json"),
            fix="Write its new place into base_model_name_or_path there (relative to the adapter is fine).",
        ) from error


def _attributes_of(config: dict[str, Any]) -> dict[str, float] | None:
    weights = config.get("reward_weights")
    if weights is None:
        return None
    return {str(config["id2label"][str(index)]): weight for index, weight in enumerate(weights)}


def _quantization_of(config: dict[str, Any]) -> dict[str, Any]:
    """The quantisation that the adapter was trained under."""
    described = config.get("quantization_config")
    if described is None:
        return {}
    from transformers.quantizers.auto import AutoQuantizationConfig

    return {"quantization_config": with_head_kept_out(AutoQuantizationConfig.from_dict(described))}
