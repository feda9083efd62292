"""What every format's reader is asked for and gives, and the one call of transformers that all of them make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from plaudit.errors import PlauditError
from plaudit.model.attributes import attribute_names, set_attributes
from plaudit.model.checkpoint import PRETRAINED_PREFIX, CheckpointFacts
from plaudit.model.padded import is_decoder
from plaudit.model.quantization import keep_weights_as_stored
from plaudit.model.reward_model import RewardModel, as_reward_model
from plaudit.model.tensor_files import TensorFiles

__all__ = [
    "HEAD_MODULES",
    "POOLER",
    "LoadedRewardModel",
    "ReadRequest",
    "grow_embedding",
    "model_from_pretrained",
    "no_head",
]

HEAD_MODULES = ("score.", "classifier.")
"""Beginnings of the names that only a model with a head has; a causal folder lacks them, and nothing is lost."""

POOLER = "pooler."
"""What an encoder has between its backbone and its head; without a head a folder lacks it too."""

PLACED = ("score.weight", "score.bias", "classifier.weight", "classifier.bias")
"""Parameters that `plaudit.model.stored_head.place_head` fills."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedRewardModel:
    """A model ready for rewards, and where its head came from."""

    model: RewardModel
    """The model, in evaluation mode."""
    has_fresh_head: bool
    """Whether the head was drawn here and has to be trained first."""
    origin: str
    """What was recognised, and where the head came from, in one line."""
    peft_model: Any = None
    """The PeftModel around the model, where it was loaded from an adapter; None else."""
    normalization: tuple[float, float] | None = None
    """Mean and standard deviation of the reward where the config holds them (OpenRLHF); rewards here are raw."""
    scored_token: str = ""
    """Which token's hidden state the reward is read from, in words."""
    differences: tuple[str, ...] = ()
    """What plain transformers would do differently with the folder, as sentences without an end."""

    @property
    def summary(self) -> str:
        """Origin, scored token and differences in one line."""
        parts = [self.origin, self.scored_token and f"scored at {self.scored_token}", *self.differences]
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRequest:
    """What a format's reader is asked for."""

    source: str
    """The folder or hub id as given."""
    facts: CheckpointFacts
    """What was recognised."""
    allow_fresh_head: bool
    """Whether a missing head may be drawn."""
    attributes: Mapping[str, float] | None
    """Rated attributes and their weights, for a fresh head of several outputs."""
    seed: int
    """Of a fresh head."""
    for_training: bool = False
    """Whether an adapter can be trained on."""
    keeps_head_dtype: bool = False
    """Whether a float32 head stays so in a model of 16 bits."""
    kwargs: dict[str, Any]
    """Arguments of ``from_pretrained``."""


def model_from_pretrained(
    request: ReadRequest, *, needs_decoder: bool = False
) -> tuple[RewardModel, list[str]]:
    """The sequence-classification class of the config with its outputs, and the weights it did not find.

    Where the folder holds a head, those are parameters that `place_head` fills, which the caller does then. Where it
    holds none, they are a head's and its pooler's, which the caller refuses or draws.

    Args:
        request: What is to be loaded.
        needs_decoder: Refuse a class that pools in its own way: the folder's head reads the last token.

    Raises:
        PlauditError: transformers cannot load it, other weights are missing, or it is no decoder and has to be one.
    """
    from transformers.utils import logging as transformers_logging

    source, facts, kwargs = request.source, request.facts, dict(request.kwargs)
    if facts.format == "value-head-one-file":
        kwargs["key_mapping"] = {f"^{PRETRAINED_PREFIX.replace('.', '[.]')}": ""}
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # "newly initialized" is said by us, as an error or in one line
    try:
        config = AutoConfig.from_pretrained(
            source, revision=kwargs["revision"], trust_remote_code=kwargs["trust_remote_code"]
        )
        _set_outputs(config, request)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            source, config=config, output_loading_info=True, **kwargs
        )
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        raise _not_loadable(request, error) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    if facts.format == "value-head-one-file":
        # Else transformers puts the prefix back where it saves, and escaped at that.
        vars(model).pop("_weight_conversions", None)
    keep_weights_as_stored(model)
    missing = sorted(info["missing_keys"])
    if needs_decoder and not is_decoder(model):
        raise PlauditError(
            f"its head reads the last token, and {type(model).__name__} pools in its own way",
            where=source,
            fix="An encoder is a reward model of transformers' sequence classification; give one of that class.",
        )
    if lost := _lost(missing, facts):
        raise PlauditError(
            f"{len(lost)} weights of the model are not in its files: {', '.join(lost[:5])}",
            where=source,
            fix="The checkpoint is incomplete or of another architecture; copy it again.",
        )
    return as_reward_model(model.eval()), missing


def _lost(missing: list[str], facts: CheckpointFacts) -> list[str]:
    """Weights that would stay random: neither the caller's to place nor part of a head that the folder lacks."""
    if facts.head_weight_key is not None:
        return [key for key in missing if key not in PLACED]
    if any(key.startswith(HEAD_MODULES) for key in missing):
        return [key for key in missing if not key.startswith((*HEAD_MODULES, POOLER))]
    return missing


def _set_outputs(config: Any, request: ReadRequest) -> None:
    """One output, or the attributes that were asked for."""
    if not request.attributes:
        if not request.facts.has_reward_weights:
            config.num_labels = 1
        return
    if request.facts.has_reward_weights and attribute_names(config) != tuple(request.attributes):
        raise PlauditError(
            f"its outputs are {', '.join(attribute_names(config))}, and {', '.join(request.attributes)} "
            "were asked for",
            where=request.source,
            fix="Name the same attributes in the same order; other weights are fine.",
        )
    set_attributes(config, request.attributes)


def _not_loadable(request: ReadRequest, error: Exception) -> PlauditError:
    if mismatched := _mismatched_shapes(request.facts):
        return PlauditError(
            f"{len(mismatched)} weights have other shapes than config.json asks for: {'; '.join(mismatched[:3])}",
            where=request.source,
            fix="The config is of another model than the weights; copy both again.",
        )
    return PlauditError(
        f"transformers cannot load it for sequence classification: {shorten(str(error), 500)}",
        where=request.source,
        fix="Check that the architecture has a ForSequenceClassification class.",
    )


def _mismatched_shapes(facts: CheckpointFacts) -> list[str]:
    """Tensors whose shapes are not those of the config's model, in words: for the error's sake, after the fact."""
    try:
        config = AutoConfig.from_pretrained(facts.path, trust_remote_code=False)  # else it would ask
        config.num_labels = facts.num_labels
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)
        tensors = TensorFiles(facts.path, files=facts.tensor_files)
    except (ValueError, OSError, RuntimeError, KeyError, AttributeError, PlauditError):
        return []
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return [
        f"{name} is {list(tensors.shape(name))}, by the config {list(wanted[plain])}"
        for name in tensors.names()
        if (plain := name.removeprefix(PRETRAINED_PREFIX)) in wanted and tensors.shape(name) != wanted[plain]
    ]


def grow_embedding(model: PreTrainedModel, num_rows: int) -> None:
    """Give the input embedding more rows, in place, and remember how many the files have."""
    if getattr(model, "num_base_rows", None) is None:
        model.num_base_rows = cast(Any, model.get_input_embeddings()).num_embeddings
    model.resize_token_embeddings(num_rows, mean_resizing=False)


def no_head(facts: CheckpointFacts, wanted: list[str]) -> PlauditError:
    """The error for a checkpoint without a head: the keys looked for, the keys found."""
    from plaudit.model.head_keys import one_row_tensors

    unknown = [] if facts.is_adapter else one_row_tensors(facts.open_tensors())
    found = ", ".join(facts.head_keys or unknown[:5]) or "none"
    fix = "Train a reward model from it first (plaudit train), or give one that was."
    if unknown:
        fix = f"If one of them is the head, name it: --head-key {unknown[0]}. Else train one first (plaudit train)."
    return PlauditError(
        f"{facts.architecture or 'this model'} has no reward head: looked for {', '.join(wanted)}; "
        f"head-like tensors found: {found} (of {facts.num_tensors})",
        where=str(facts.path),
        fix=fix,
    )
