"""An adapter merged into its base one layer at a time, by peft's own rule for that layer.

Each layer that has an adapter is put alone into an otherwise empty model, where peft wraps and merges it in float32;
the sum is rounded once, to the dtype that the base's tensor has. What cannot be done so (a quantised base, adapters
that share parameters between layers or change the base when they are set up) is merged as a whole model in memory.
"""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from plaudit.errors import PlauditError
from plaudit.model.adapter import require_peft
from plaudit.model.adapter_base import read_peft_config
from plaudit.model.checkpoint import CheckpointFacts
from plaudit.model.convert.output_tensor import OutputTensor, computed_tensor, stored_tensor
from plaudit.model.tensor_files import TensorFiles
from plaudit.model.tensor_names import LANGUAGE_HEADS, PEFT_PREFIX, peft_name

__all__ = [
    "LayerwiseMerge",
    "NotLayerwise",
    "adapter_names",
    "merge_by_layer",
]

BY_LAYER = ("LORA", "LOHA", "LOKR")
"""Methods whose layers know nothing of each other."""

HEADS = ("score.", "classifier.", "v_head.")


class NotLayerwise(Exception):  # noqa: N818 - no mistake of anybody's: another way is taken
    """Why this adapter has to be merged as a whole model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerwiseMerge:
    """What an adapter changes in its base."""

    changed: dict[str, OutputTensor]
    """Tensors that take the place of the base's, by the base's names."""
    notes: tuple[str, ...]
    """What was left out."""


def merge_by_layer(
    facts: CheckpointFacts,
    base: CheckpointFacts,
    base_names: Mapping[str, str],
    model: nn.Module,
    *,
    dtype: torch.dtype | None,
) -> LayerwiseMerge:
    """The tensors of the base that an adapter changes, each computed when it is written.

    Args:
        facts: The adapter's folder.
        base: Its base's folder.
        base_names: Names of the base's tensors in transformers' classes, and in its files.
        model: The base's class without values.
        dtype: What is written; None takes each base tensor's own.

    Raises:
        NotLayerwise: It has to be merged as a whole.
        PlauditError: A tensor of the adapter has no place in the base.
    """
    require_peft("merging an adapter")
    config = read_peft_config(facts.path)
    if reason := _why_not(config, facts, base):
        raise NotLayerwise(reason)
    adapter_files, base_files = facts.open_tensors(), base.open_tensors()
    modules = dict(model.named_modules())
    by_module: dict[str, dict[str, str]] = defaultdict(dict)
    changed: dict[str, OutputTensor] = {}
    left_out: list[str] = []
    for name, source in adapter_names(adapter_files).items():
        module, rest = _split(name, modules)
        if name.startswith(HEADS):
            if "lora_" in name:
                raise NotLayerwise("there is an adapter on the head")
        elif name.startswith(LANGUAGE_HEADS):
            if name.partition(".")[2] not in ("weight", "bias"):
                left_out.append(name)
                continue
            stored = base_files.dtype(base_names[name]) if name in base_names else None
            changed[name] = stored_tensor(adapter_files, source, name, dtype=dtype or stored)
        elif not module:
            raise _misfit(name, facts.path)
        elif rest in ("weight", "bias"):
            stored = base_files.dtype(base_names[name]) if name in base_names else None
            changed[name] = stored_tensor(adapter_files, source, name, dtype=dtype or stored)
        elif rest.startswith("base_layer."):
            raise NotLayerwise("it holds a base layer, too")
        else:
            by_module[module][rest] = source
    for module, parts in by_module.items():
        layer = _Layer(module, modules[module], parts, config, adapter_files, base_files, base_names)
        changed |= layer.merged_tensors(dtype)
    notes = [f"{len(left_out)} tensors on the language-model head were left out"] if left_out else []
    return LayerwiseMerge(changed=changed, notes=tuple(notes))


def adapter_names(files: TensorFiles) -> dict[str, str]:
    """Names without what peft puts around them, and what the tensors are called in the files."""
    return {
        peft_name(name).removeprefix(PEFT_PREFIX): name
        for name in files.names()
        if ".original_module." not in name
    }


class _Layer:
    """One layer of the base with its adapter."""

    def __init__(
        self,
        path: str,
        module: nn.Module,
        parts: Mapping[str, str],
        config: Any,
        adapter_files: TensorFiles,
        base_files: TensorFiles,
        base_names: Mapping[str, str],
    ) -> None:
        self.path = path
        self.module = module
        self.parts = parts
        self.config = config
        self.adapter_files = adapter_files
        self.base_files = base_files
        # Only these two are what a merge can change.
        self.base = {
            name: base_names[f"{path}.{name}"]
            for name in ("weight", "bias")
            if f"{path}.{name}" in base_names
        }
        if "weight" not in self.base:
            raise NotLayerwise(f"{path}.weight is under another name in the base's files")

    def merged_tensors(self, dtype: torch.dtype | None) -> dict[str, OutputTensor]:
        """Weight and bias with the adapter in them, to be computed later."""
        names = [name for name in self.base if name == "weight" or getattr(self.config, "lora_bias", False)]
        return {
            f"{self.path}.{name}": computed_tensor(
                f"{self.path}.{name}",
                self.base_files.shape(self.base[name]),
                dtype or self.base_files.dtype(self.base[name]),
                lambda name=name: self.merged()[name],
            )
            for name in names
        }

    def merged(self) -> dict[str, Tensor]:
        """The layer's parameters with the adapter in them, float32."""
        from peft import inject_adapter_in_model, set_peft_model_state_dict

        layer = copy.deepcopy(self.module)
        values = {name: self.base_files.tensor(source).float() for name, source in self.base.items()}
        layer.load_state_dict(values, assign=True)
        alone = _alone(self.path, layer.requires_grad_(False))
        config = copy.deepcopy(self.config)
        config.modules_to_save = None
        with warnings.catch_warnings():
            # Of the layers that rank_pattern and alpha_pattern name, only this one is there.
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match")
            inject_adapter_in_model(config, alone)
        weights = {
            f"{self.path}.{rest}": self.adapter_files.tensor(name).float()
            for rest, name in self.parts.items()
        }
        unexpected = set_peft_model_state_dict(alone, weights).unexpected_keys
        if unexpected:
            raise _misfit(unexpected[0], self.adapter_files.path)
        wrapped = cast(Any, alone.get_submodule(self.path))
        wrapped.merge(safe_merge=True)
        return {name: value.detach() for name, value in wrapped.get_base_layer().state_dict().items()}


def _why_not(config: Any, facts: CheckpointFacts, base: CheckpointFacts) -> str | None:
    method = config.peft_type.value
    if method not in BY_LAYER:
        return f"{method} is not known to keep its layers apart"
    if facts.config.get("quantization_config") or base.config.get("quantization_config"):
        return "the base is quantised"
    if isinstance(init := getattr(config, "init_lora_weights", None), str):
        return f"its initialisation ({init}) changes the base"
    for setting in ("target_parameters", "trainable_token_indices", "layer_replication"):
        if getattr(config, setting, None):
            return f"it has {setting}"
    return None


def _split(name: str, modules: Mapping[str, nn.Module]) -> tuple[str, str]:
    """The module that a name begins with, the longest there is, and the rest."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if (module := ".".join(parts[:length])) in modules:
            return module, ".".join(parts[length:])
    return "", name


def _alone(path: str, layer: nn.Module) -> nn.Module:
    """An empty model with one layer, in its place."""
    root = parent = nn.Module()
    *parents, last = path.split(".")
    for name in parents:
        child = nn.Module()
        parent.add_module(name, child)
        parent = child
    parent.add_module(last, layer)
    return root


def _misfit(name: str, folder: Path) -> PlauditError:
    return PlauditError(
        f"the adapter does not fit its base: {name} has no place there",
        where=str(folder),
        fix="Check base_model_name_or_path in adapter_config.json, or copy the adapter again.",
    )
