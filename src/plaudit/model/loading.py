"""Loading a reward model, or a base model that becomes one; never with a random head in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from plaudit.errors import PlauditError
from plaudit.model.attributes import reward_weights, set_attributes
from plaudit.model.backend import set_backend
from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.dropout import disable_dropout
from plaudit.model.head import draw_head, head_of
from plaudit.model.reward_model import RewardModel, as_reward_model

__all__ = ["LoadedRewardModel", "load_reward_model", "prepare_reward_model"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedRewardModel:
    """A model ready for rewards, and where its head came from."""

    model: RewardModel
    """The model, in evaluation mode."""
    has_fresh_head: bool
    """Whether the head was drawn here and has to be trained first."""
    origin: str
    """What was recognised, in one line."""


def load_reward_model(
    path_or_id: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    allow_fresh_head: bool = False,
    attention: str = "auto",
    dtype: torch.dtype | str = "auto",
    device: torch.device | str | None = None,
    keep_dropout: bool = False,
    attributes: Mapping[str, float] | None = None,
    seed: int = 0,
    revision: str | None = None,
    trust_remote_code: bool = False,
    model_init_kwargs: Mapping[str, Any] | None = None,
) -> LoadedRewardModel:
    """Load a checkpoint as a reward model.

    Args:
        path_or_id: A local folder or a hub id.
        tokenizer: Its tokenizer; gives the model the pad token, and the embedding rows of tokens added to it.
        allow_fresh_head: Whether a checkpoint without a head gets a new one, drawn from N(0, 1/(hidden+1)).
        attention: A backend, or ``auto``; see `plaudit.model.backend`.
        dtype: Precision of the weights; ``auto`` takes the checkpoint's own.
        device: Where to put it; None leaves it where transformers put it.
        keep_dropout: Keep the model's dropout for training (arXiv:1909.08593 turns it off).
        attributes: Rated attributes and their weights in the reward, for a fresh head of several outputs.
        seed: Of a fresh head.
        revision, trust_remote_code, model_init_kwargs: As in ``from_pretrained``.

    Raises:
        PlauditError: When the folder is damaged or unknown, has no head (and may get none), has a head of more than
            one output, or the backend cannot be used.
    """
    kwargs = dict(model_init_kwargs or {})
    kwargs |= {"revision": revision or kwargs.get("revision"), "trust_remote_code": trust_remote_code}
    kwargs.setdefault("dtype", dtype)
    facts = inspect_checkpoint(_local_folder(str(path_or_id), revision))
    if facts.format not in READERS:
        raise PlauditError(
            f"a checkpoint of the format {facts.format!r} cannot be read yet",
            where=str(path_or_id),
            fix=f"Formats that can: {', '.join(READERS)}.",
        )
    request = ReadRequest(
        source=str(path_or_id),
        facts=facts,
        allow_fresh_head=allow_fresh_head,
        attributes=attributes,
        seed=seed,
        kwargs=kwargs,
    )
    loaded = READERS[facts.format](request)
    if device is not None:
        loaded.model.to(device)  # type: ignore[arg-type]
    prepare_reward_model(loaded.model, tokenizer, attention=attention, keep_dropout=keep_dropout)
    loaded.model.origin = loaded.origin
    log.info("%s: %s", path_or_id, loaded.origin)
    return loaded


def prepare_reward_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    attention: str = "auto",
    keep_dropout: bool = False,
) -> RewardModel:
    """Make a sequence-classification model fit for rewards, in place: pad token, raw output, dropout, attention.

    Raises:
        PlauditError: When it has several outputs without weights, or the backend cannot be used.
    """
    reward_weights(model.config)  # one output, or several whose weights are known
    # Without this, pipeline("text-classification") and vLLM return sigmoid(reward).
    model.config.problem_type = "regression"
    if tokenizer is not None:
        _fit_to_tokenizer(model, tokenizer)
    if not keep_dropout:
        disable_dropout(model)
    model.config.use_cache = False
    reward_model = as_reward_model(model)
    set_backend(reward_model, attention)
    return reward_model


def _fit_to_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the model the tokenizer's pad token, and an embedding row for every token."""
    embedding = model.get_input_embeddings()
    num_rows = getattr(embedding, "num_embeddings", len(tokenizer))
    if len(tokenizer) > num_rows:
        log.info("embedding grown from %d to %d rows for added tokens", num_rows, len(tokenizer))
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id


def _local_folder(path_or_id: str, revision: str | None) -> Path:
    """The folder of a model: the path itself, or where the hub's files were downloaded to."""
    if Path(path_or_id).is_dir():
        return Path(path_or_id)
    try:
        config = cached_file(path_or_id, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        raise PlauditError(
            f"neither a local folder nor a model that can be fetched ({str(error).splitlines()[0]})",
            where=path_or_id,
            fix="Check the path or id, the network, and that you are logged in for a gated model.",
        ) from error
    assert config is not None
    return Path(config).parent


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
    kwargs: dict[str, Any]
    """Arguments of ``from_pretrained``."""


def _read_sequence_classification(request: ReadRequest) -> LoadedRewardModel:
    facts = request.facts
    if facts.num_labels != 1 and not facts.has_reward_weights:
        raise PlauditError(
            f"{facts.architecture} has {facts.num_labels} outputs, and a reward model has one",
            where=str(facts.path / "config.json"),
            fix="This is a classifier. Train a reward model from its base instead.",
        )
    model, missing = _from_pretrained(request)
    if head_keys := [key for key in missing if key.startswith(("score.", "classifier."))]:
        if not request.allow_fresh_head:
            raise _no_head(facts, head_keys)
        return _with_fresh_head(request, model)
    where = ", ".join(facts.head_keys) or "the checkpoint"
    origin = f"sequence classification ({facts.architecture}), head from {where}"
    return LoadedRewardModel(model=model, has_fresh_head=False, origin=origin)


def _read_headless(request: ReadRequest) -> LoadedRewardModel:
    if not request.allow_fresh_head:
        raise _no_head(request.facts, ["score.weight"])
    model, _ = _from_pretrained(request)
    return _with_fresh_head(request, model)


READERS: dict[str, Callable[[ReadRequest], LoadedRewardModel]] = {
    "sequence-classification": _read_sequence_classification,
    "headless": _read_headless,
}
"""How each format is read."""


def _with_fresh_head(request: ReadRequest, model: RewardModel) -> LoadedRewardModel:
    head = head_of(model)
    if isinstance(head, torch.nn.Linear):
        draw_head(head, seed=request.seed)
    kind = request.facts.architecture or "a model"
    origin = f"{kind} without a reward head; a fresh one was drawn (seed {request.seed})"
    return LoadedRewardModel(model=model, has_fresh_head=True, origin=origin)


def _from_pretrained(request: ReadRequest) -> tuple[RewardModel, list[str]]:
    """The sequence-classification class of the config with its outputs, and the weights it did not find."""
    from transformers.utils import logging as transformers_logging

    source, kwargs = request.source, request.kwargs
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # "newly initialized" is said by us, as an error or in one line
    try:
        config = AutoConfig.from_pretrained(
            source, revision=kwargs["revision"], trust_remote_code=kwargs["trust_remote_code"]
        )
        if request.attributes:
            set_attributes(config, request.attributes)
        elif not request.facts.has_reward_weights:
            config.num_labels = 1
        model, info = AutoModelForSequenceClassification.from_pretrained(
            source, config=config, output_loading_info=True, **kwargs
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise PlauditError(
            f"transformers cannot load it for sequence classification: {error}",
            where=source,
            fix="Check that the architecture has a ForSequenceClassification class.",
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    missing = sorted(info["missing_keys"])
    lost = [key for key in missing if not key.startswith(("score.", "classifier.", "pooler."))]
    if lost:
        raise PlauditError(
            f"{len(lost)} weights of the model are not in its files: {', '.join(lost[:5])}",
            where=source,
            fix="The checkpoint is incomplete or of another architecture; copy it again.",
        )
    return as_reward_model(model.eval()), missing


def _no_head(facts: CheckpointFacts, wanted: list[str]) -> PlauditError:
    found = ", ".join(facts.head_keys) or "none"
    return PlauditError(
        f"{facts.architecture or 'this model'} has no reward head: looked for {', '.join(wanted)}; "
        f"head-like tensors found: {found} (of {facts.num_tensors})",
        where=str(facts.path),
        fix="Train a reward model from it first (plaudit train), or give one that was.",
    )
