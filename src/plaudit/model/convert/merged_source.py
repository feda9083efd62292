"""A model with an adapter as one whole model: layer by layer where that can be, in memory where it cannot."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.convert.layer_merging import NotLayerwise, merge_by_layer
from plaudit.model.convert.locations import base_folder
from plaudit.model.convert.output_tensor import stored_tensor
from plaudit.model.convert.source import (
    LANGUAGE_HEADS,
    SourceModel,
    plain_names,
    read_head,
    read_whole_model,
    skeleton,
)
from plaudit.model.loading import load_reward_model
from plaudit.model.merging import merge_adapter

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
    base = inspect_checkpoint(base_folder(facts.path))
    try:
        return _by_layer(facts, base, dtype=dtype)
    except NotLayerwise as reason:
        log.info("merging the whole model in memory: %s", reason)
        return _in_memory(facts, base, scratch, dtype=dtype)


def _by_layer(facts: CheckpointFacts, base: CheckpointFacts, *, dtype: torch.dtype | None) -> SourceModel:
    model = skeleton(base.path, base.config)
    if not hasattr(model, "score"):
        raise NotLayerwise("its class pools in a way of its own")
    files = base.open_tensors()
    prefix = f"{model.base_model_prefix}."
    names = plain_names(files, base, prefix)
    merge = merge_by_layer(facts, base, names, model, dtype=dtype)
    backbone = tuple(
        merge.changed.get(name) or stored_tensor(files, source, name, dtype=dtype)
        for name, source in names.items()
        if name.startswith(prefix)
    )
    language_head = tuple(
        stored_tensor(files, source, name, dtype=dtype)
        for name, source in names.items()
        if name.startswith(LANGUAGE_HEADS)
    )
    owner = facts if facts.head_weight_key is not None else base
    head, notes = read_head(owner, dtype=dtype)
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
    merge_adapter(loaded).save_pretrained(scratch)
    del loaded
    files = base.open_tensors()
    kinds = {files.dtype(name) for name in files.names() if files.dtype(name).is_floating_point}
    own = kinds.pop() if len(kinds) == 1 and not base.config.get("quantization_config") else None
    whole = read_whole_model(inspect_checkpoint(scratch), dtype=dtype or own)
    language_head = tuple(
        stored_tensor(files, name, name, dtype=dtype or own)
        for name in files.names()
        if name.startswith(LANGUAGE_HEADS) and files.dtype(name).is_floating_point
    )
    return replace(whole, language_head=language_head)
