"""Reading an adapter folder: its base, the adapter on it, and a head that is never random in silence.

A folder that plaudit wrote holds ``config.json`` too: what the model is once the adapter is on it (outputs and their
weights, size of the vocabulary, pad token, precision, quantisation). Folders of peft and TRL lack it and are read by
their tensors.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils import cached_file

from plaudit.errors import PlauditError
from plaudit.model.adapter import adapter_weights, require_peft, wrap
from plaudit.model.adapter_config import head_module_names
from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.quantization import with_head_kept_out
from plaudit.model.readers import (
    LoadedRewardModel,
    ReadRequest,
    grow_embedding,
    no_head,
    read_headless,
    read_sequence_classification,
)
from plaudit.model.reward_model import RewardModel

__all__ = ["read_adapter"]

PREFIX = "base_model.model."
"""What peft puts before the model's own names."""


def read_adapter(request: ReadRequest) -> LoadedRewardModel:
    """The base that the adapter names, with the adapter on it and the head that was saved with it.

    Raises:
        PlauditError: The base is not there, the head is in neither, or the adapter does not fit the base.
    """
    require_peft("a model with an adapter")
    folder, facts = request.facts.path, request.facts
    config = _read_peft_config(folder)
    base = _read_base(request, config)
    weights = _read_weights(folder)
    model = base.model
    _resize_embedding(model, facts, weights)
    head = [f"{PREFIX}{name}" for name in _head_parameters(model)]
    is_head_wrapped = any(_is_adapter_of_head(key, model) for key in weights)
    has_head = not is_head_wrapped and all(name in weights for name in head)
    if not has_head and base.has_fresh_head and (is_head_wrapped or not request.allow_fresh_head):
        raise no_head(facts, head)
    _set_up(config, model, for_training=request.for_training, is_head_wrapped=is_head_wrapped)
    peft_model = wrap(model, config)
    _load_weights(peft_model, weights, keeps_base_head=not has_head, folder=folder)
    _follow_config(model, facts.config)
    name = config.base_model_name_or_path
    where = ", ".join(head) if has_head else "a fresh draw" if base.has_fresh_head else "the base"
    return LoadedRewardModel(
        model=model.eval(),
        has_fresh_head=base.has_fresh_head and not has_head,
        origin=f"{config.peft_type.value} adapter on {name}, head from {where}",
        peft_model=peft_model.eval(),
    )


# The base ----------------------------------------------------------------------------------------------------


def _read_peft_config(folder: Path) -> Any:
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(folder))
    except (ValueError, KeyError, TypeError) as error:
        raise PlauditError(
            f"not a config of peft ({type(error).__name__}: {error})",
            where=str(folder / "adapter_config.json"),
            fix="Copy the adapter again, or upgrade peft.",
        ) from error


def _read_base(request: ReadRequest, config: Any) -> LoadedRewardModel:
    source = _base_source(request.facts.path, config.base_model_name_or_path, config.revision)
    facts = inspect_checkpoint(_base_folder(source, config.revision, request.facts.path))
    readers = {"headless": read_headless, "sequence-classification": read_sequence_classification}
    if facts.format not in readers:
        raise PlauditError(
            f"the base of the adapter is of the format {facts.format!r}, and an adapter needs a plain model",
            where=source,
            fix="Merge or convert the base first.",
        )
    kwargs = dict(request.kwargs) | {"revision": config.revision}
    described = request.facts.config
    if kwargs["dtype"] == "auto" and (dtype := described.get("dtype")):
        kwargs["dtype"] = getattr(torch, dtype)
    if "quantization_config" not in kwargs and "quantization_config" not in facts.config:
        kwargs |= _quantization_of(described)
    return readers[facts.format](
        dataclasses.replace(
            request,
            source=source,
            facts=facts,
            allow_fresh_head=True,
            attributes=request.attributes or _attributes_of(described),
            kwargs=kwargs,
        )
    )


def _base_source(folder: Path, name: str | None, revision: str | None) -> str:
    """Where the base is: a path relative to the adapter, another path, or a hub id."""
    if not name:
        raise PlauditError(
            "the adapter does not say what it was trained on (base_model_name_or_path is empty)",
            where=str(folder / "adapter_config.json"),
            fix="Write the base model's path or hub id there.",
        )
    beside = folder / name
    return os.path.normpath(beside) if beside.is_dir() else name


def _base_folder(source: str, revision: str | None, adapter: Path) -> Path:
    if Path(source).is_dir():
        return Path(source)
    try:
        config = cached_file(source, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        raise PlauditError(
            f"the base model {source!r} is neither a local folder nor a model that can be fetched",
            where=str(adapter / "adapter_config.json"),
            fix="Write its new place into base_model_name_or_path there (relative to the adapter is fine).",
        ) from error
    assert config is not None
    return Path(config).parent


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


# The adapter -------------------------------------------------------------------------------------------------


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors; heads under the name that today's peft gives them."""
    from peft.utils.save_and_load import load_peft_weights

    files = ("adapter_model.safetensors", "adapter_model.bin")
    if not any((folder / file).is_file() for file in files):
        raise PlauditError(
            f"no weights of the adapter (looked for {' and '.join(files)})",
            where=str(folder),
            fix="Copy the whole folder.",
        )
    weights = load_peft_weights(str(folder), device="cpu")
    # Older versions of peft: score.modules_to_save.default.weight, beside score.original_module.weight.
    return {
        re.sub(r"\.modules_to_save\.(\w+\.)?(?=\w+$)", ".", name): tensor
        for name, tensor in weights.items()
        if ".original_module." not in name
    }


def _head_parameters(model: RewardModel) -> list[str]:
    heads = head_module_names(model)
    return [name for name, _ in model.named_parameters() if name.split(".", 1)[0] in heads]


def _is_adapter_of_head(key: str, model: RewardModel) -> bool:
    name = key.removeprefix(PREFIX)
    return name.split(".", 1)[0] in head_module_names(model) and "lora_" in name


def _resize_embedding(model: RewardModel, facts: CheckpointFacts, weights: dict[str, Tensor]) -> None:
    """Give the base the rows that the adapter's model had: a pad token may have been added to its vocabulary."""
    embedding: Any = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding)
    names = (f"{PREFIX}{name}.weight", f"{PREFIX}{name}.base_layer.weight")
    saved = next((weights[name] for name in names if name in weights), None)
    text = facts.config.get("text_config") or facts.config
    wanted = text.get("vocab_size", 0) if saved is None else len(saved)
    if wanted > embedding.num_embeddings:
        grow_embedding(model, wanted)


def _set_up(config: Any, model: RewardModel, *, for_training: bool, is_head_wrapped: bool) -> None:
    """Make the saved config fit for loading; its targets stay as they are."""
    heads = head_module_names(model)
    config.inference_mode = not for_training
    config.base_model_name_or_path = None
    if is_head_wrapped:  # an adapter on the head of a reward model; peft cannot have both
        config.task_type = None
        return
    config.task_type = "SEQ_CLS"
    names = [name for name, _ in model.named_modules()]
    kept = [
        wanted
        for wanted in config.modules_to_save or ()
        if wanted not in heads and any(name == wanted or name.endswith(f".{wanted}") for name in names)
    ]
    config.modules_to_save = [*heads, *kept]


def _load_weights(
    peft_model: Any, weights: dict[str, Tensor], *, keeps_base_head: bool, folder: Path
) -> None:
    from peft import set_peft_model_state_dict

    own = adapter_weights(peft_model)
    given = dict(weights)
    if keeps_base_head:
        heads = tuple(f"{PREFIX}{name}." for name in head_module_names(peft_model.get_base_model()))
        given |= {name: own[name] for name in own if name.startswith(heads) and name not in weights}
    missing = sorted(set(own) - set(given))
    try:
        # set_peft_model_state_dict looks every trained module up by name.
        unexpected = [] if missing else set_peft_model_state_dict(peft_model, given).unexpected_keys
        problem = _misfit(missing, unexpected)
    except RuntimeError as error:
        problem = str(error).strip().splitlines()[-1].strip()
    if problem:
        raise PlauditError(
            f"the adapter does not fit its base: {problem}",
            where=str(folder),
            fix="Check base_model_name_or_path in adapter_config.json, or copy the adapter again.",
        )


def _misfit(missing: list[str], unexpected: list[str]) -> str | None:
    if missing:
        return f"{len(missing)} tensors are not in its files: {', '.join(missing[:3])}"
    if unexpected:
        return f"{len(unexpected)} tensors have no place in the base: {', '.join(sorted(unexpected)[:3])}"
    return None


def _follow_config(model: RewardModel, config: dict[str, Any]) -> None:
    pad_token_id = config.get("pad_token_id")
    if pad_token_id is not None:
        model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad_token_id
