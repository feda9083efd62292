"""A model with an adapter as one whole model: layer by layer where that can be, in memory where it cannot."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.convert.fit import check_backbone, has_linear_score
from plaudit.model.convert.layer_merging import NotLayerwise, adapter_names, merge_by_layer
from plaudit.model.convert.locations import base_folder
from plaudit.model.convert.output_tensor import OutputTensor, stored_tensor
from plaudit.model.convert.source import (
    SourceModel,
    plain_names,
    read_head,
    read_whole_model,
    score_width,
    skeleton,
)
from plaudit.model.loading import load_reward_model
from plaudit.model.merging import merge_adapter
from plaudit.model.tensor_files import TensorFiles
from plaudit.model.tensor_names import LANGUAGE_HEADS

__all__ = ["read_merged_model"]

log = logging.getLogger(__name__)


def read_merged_model(facts: CheckpointFacts, *, scratch: Path, dtype: torch.dtype | None) -> SourceModel:
    """The parts of an adapter's model with the adapter in its weights.

    Args:
        facts: The adapter's folder.
        scratch: A folder for a model that has to be merged in memory; the parts are read from there.
        dtype: What is written; None takes each base tensor's own.

    Raises:
        PlauditError: The adapter does not fit its base, or cannot be merged.
    """
    base = inspect_checkpoint(base_folder(facts.path), head_key=facts.base_head_key)
    try:
        return _by_layer(facts, base, dtype=dtype)
    except NotLayerwise as reason:
        log.info("merging the whole model in memory: %s", reason)
        return _in_memory(facts, base, scratch, dtype=dtype)


def _by_layer(facts: CheckpointFacts, base: CheckpointFacts, *, dtype: torch.dtype | None) -> SourceModel:
    model = skeleton(base.path, base.config)
    if not has_linear_score(model):
        raise NotLayerwise("its class pools in a way of its own")
    files = base.open_tensors()
    prefix = f"{model.base_model_prefix}."
    names = plain_names(files, base, prefix)
    check_backbone(base, files, names, model)
    merge = merge_by_layer(facts, base, names, model, dtype=dtype)
    backbone = tuple(
        merge.changed.get(name) or stored_tensor(files, source, name, dtype=dtype)
        for name, source in names.items()
        if name.startswith(prefix)
    )
    own = {name: tensor for name, tensor in merge.changed.items() if name.startswith(LANGUAGE_HEADS)}
    language_head = _language_head(base, files, names, own, dtype=dtype)
    owner = facts if facts.head_weight_key is not None else base
    head, notes = read_head(owner, dtype=dtype, width=score_width(model))
    return SourceModel(
        config=base.config,
        skeleton=model,
        backbone=backbone,
        language_head=language_head,
        head=head,
        notes=(*notes, *merge.notes),
    )


def _in_memory(
    facts: CheckpointFacts, base: CheckpointFacts, scratch: Path, *, dtype: torch.dtype | None
) -> SourceModel:
    loaded = load_reward_model(facts.path, attention="padded", dtype=torch.float32).model
    whole_model = merge_adapter(loaded)
    whole_model.save_pretrained(scratch)
    del loaded, whole_model
    files = base.open_tensors()
    heads = (base.head_weight_key, base.head_bias_key)
    kinds = {
        files.dtype(name)
        for name in files.names()
        if files.dtype(name).is_floating_point and name not in heads
    }
    own = kinds.pop() if len(kinds) == 1 and not base.config.get("quantization_config") else None
    merged = inspect_checkpoint(scratch)
    whole = read_whole_model(merged, dtype=dtype or own)
    if whole.head is not None:
        owner = facts if facts.head_weight_key is not None else base
        key = owner.head_weight_key
        of_head = None if key is None else owner.open_tensors().dtype(key)
        whole = replace(whole, head=read_head(merged, dtype=dtype or of_head)[0])
    if own is not None:  # it was merged, and saved, in float32
        config = {name: value for name, value in whole.config.items() if name != "torch_dtype"}
        whole = replace(whole, config=config | {"dtype": str(own).removeprefix("torch.")})
    adapter_files = facts.open_tensors()
    saved_whole = {
        name: stored_tensor(adapter_files, source, name, dtype=dtype or own)
        for name, source in adapter_names(adapter_files).items()
        if name.startswith(LANGUAGE_HEADS) and name.partition(".")[2] in ("weight", "bias")
    }
    names = plain_names(files, base, f"{whole.skeleton.base_model_prefix}.")
    plain = {name: source for name, source in names.items() if files.dtype(source).is_floating_point}
    language_head = _language_head(base, files, plain, saved_whole, dtype=dtype or own)
    return replace(whole, language_head=language_head)


def _language_head(
    base: CheckpointFacts,
    files: TensorFiles,
    names: Mapping[str, str],
    saved_whole: Mapping[str, OutputTensor],
    *,
    dtype: torch.dtype | None,
) -> tuple[OutputTensor, ...]:
    """The base's language-model head; what the adapter has trained whole takes its place."""
    found = {
        name: stored_tensor(files, source, name, dtype=dtype)
        for name, source in names.items()
        if name.startswith(LANGUAGE_HEADS)
    }
    if not base.config.get("tie_word_embeddings"):  # a tied one is the embedding
        found |= saved_whole
    return tuple(found.values())
