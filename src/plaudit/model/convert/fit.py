"""Whether a folder's tensors are those of its config's class: names and shapes, from headers alone.

Without it an incomplete folder would become an incomplete model of another format, unless a proof is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import CheckpointFacts
from plaudit.model.stored_head import StoredHead
from plaudit.model.tensor_files import TensorFiles

__all__ = ["check_backbone", "check_head_width", "has_linear_score"]

LAYER = re.compile(r"^.*?\.\d+\.")
"""What the names of one layer begin with."""

BUFFERS = ("inv_freq", "masked_bias", "attention.bias", "attn.bias", "position_ids")
"""Ends of names that older checkpoints hold and no class needs."""


def has_linear_score(model: nn.Module) -> bool:
    """Whether a class maps the last hidden state to the reward by a layer named ``score``, as decoders do."""
    return isinstance(getattr(model, "score", None), nn.Linear)


def check_backbone(
    facts: CheckpointFacts, files: TensorFiles, names: Mapping[str, str], model: PreTrainedModel
) -> None:
    """Raise where a whole model's folder lacks a tensor of its class, or has one of another shape.

    transformers renames and fuses tensors of some classes while it loads them (experts, older layer norms). What is
    missing in a layer that has tensors under names of its own is therefore left to the proof.

    Args:
        facts: What was recognised.
        files: The folder's tensors.
        names: Names in transformers' classes, and in the files.
        model: The class, without values.

    Raises:
        PlauditError: As said, or its class has no place for the head that was named.
    """
    if facts.config.get("quantization_config"):
        return  # packed: other names, other shapes
    wanted = {name: tuple(value.shape) for name, value in model.named_parameters()}
    if has_linear_score(model):
        wanted = {name: shape for name, shape in wanted.items() if not name.startswith("score.")}
    elif facts.head_weight_key is not None and facts.head_weight_key not in wanted:
        raise PlauditError(
            f"{type(model).__name__} pools in a way of its own and has no place for {facts.head_weight_key}",
            where=str(facts.path),
            fix="Leave --head-key out, or give a model whose head has transformers' own names.",
        )
    optional = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_missing or ()]
    stem = f"{model.base_model_prefix}."
    others = [name for name in names if name not in wanted and name.startswith(stem)]
    layers_of_others = {_layer(name) for name in others if not name.endswith(BUFFERS)}
    missing = [
        name
        for name in wanted
        if name not in names
        and _layer(name) not in layers_of_others
        and not any(pattern.search(name) for pattern in optional)
    ]
    if missing:
        raise PlauditError(
            f"{len(missing):,} tensors of the model are not in its files: {', '.join(missing[:5])}",
            where=str(facts.path),
            fix="The checkpoint is incomplete or of another architecture; copy it again.",
        )
    for name, source in names.items():
        if name in wanted and tuple(files.shape(source)) != wanted[name]:
            raise PlauditError(
                f"{source} has the shape {list(files.shape(source))}, by the config {list(wanted[name])}",
                where=str(facts.path),
                fix="The config is of another model than the weights; copy both again.",
            )


def check_head_width(stored: StoredHead, width: int, where: Path) -> None:
    """Raise where a head [outputs, hidden] reads more or fewer numbers than the model gives.

    Raises:
        PlauditError: As said.
    """
    if stored.weight.shape[1] != width:
        raise PlauditError(
            f"the head reads {stored.weight.shape[1]} numbers, and the model's hidden size is {width}",
            where=f"{where}: {stored.where}",
            fix="The head is of another model than the weights; copy both again.",
        )


def _layer(name: str) -> str:
    found = LAYER.match(name)
    return found[0] if found else ""
