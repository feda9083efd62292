"""What can be said of a model folder from its headers, its head, its config and its tokenizer, without loading it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from plaudit.errors import PlauditError
from plaudit.model.adapter_base import base_source
from plaudit.model.checkpoint import FORMATS, CheckpointFacts, inspect_checkpoint
from plaudit.model.differences import end_of_sequence_ids, plain_differences
from plaudit.model.hub_files import local_folder
from plaudit.model.normalization import find_normalization
from plaudit.model.reading import no_head
from plaudit.model.record import ModelRecord, read_record
from plaudit.model.scored_token import scored_token
from plaudit.model.stored_head import StoredHead, read_stored_head
from plaudit.model.tensor_files import TensorFiles
from plaudit.tokens.loading import load_tokenizer
from plaudit.tokens.rule import template_sha256

__all__ = ["Inspection", "inspect_model"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """A folder's facts, in plain values that JSON can hold."""

    path: str
    """The folder, where the hub's files were fetched to for an id."""
    format: str
    """One of `FORMATS`."""
    description: str
    """The format in words."""
    architecture: str
    """The class that config.json names."""
    base: str | None
    """What an adapter is on."""
    weights: Mapping[str, Any]
    """``num_tensors``, ``num_parameters``, ``num_bytes``, ``dtypes`` (parameters of each), ``num_files``."""
    head: Mapping[str, Any] | None
    """``weight``, ``bias`` and ``file`` by name, ``shape``, ``dtype``, ``norm`` of the weight, ``bias_value``."""
    tokens: Mapping[str, Any]
    """``pad_token_id`` and ``eos_token_ids`` of the config, ``pad_is_eos``; the tokenizer's ``pad_token``,
    ``eos_token`` and size."""
    template: Mapping[str, Any]
    """``rendering`` (chat or text), ``sha256`` of the chat template, ``ends_with``: the text of the last token."""
    scored_token: str
    """Which token the reward is read at."""
    normalization: Mapping[str, Any] | None
    """``mean``, ``std`` and ``source``; rewards are raw unless asked otherwise."""
    problems: tuple[str, ...]
    """Why it cannot be loaded, or not with a reward that can be trusted."""
    warnings: tuple[str, ...]
    """What its user should know."""


def inspect_model(
    path_or_id: str | Path, *, head_key: str | None = None, revision: str | None = None
) -> Inspection:
    """Look at a model folder: headers of its weight files, and the values of its head alone.

    A model of the hub is fetched as loading would fetch it.

    Raises:
        PlauditError: It is no model folder, or a file is damaged, missing or holds code.
    """
    facts = inspect_checkpoint(local_folder(str(path_or_id), revision=revision), head_key=head_key)
    tensors = facts.open_tensors()
    problems: list[str] = []
    base, config = _base_of(facts, problems)
    stored = _stored(facts, config, problems)
    record = _tried(lambda: read_record(facts.path), problems)
    tokenizer, notes = _tokenizer(facts.path, problems)
    template, token = _template(tokenizer, record, problems)
    is_decoder = "classifier" not in (facts.head_weight_key or "") or facts.format == "token-classification"
    bias = None if stored is None or stored.bias is None else float(stored.bias.sum())
    return Inspection(
        path=str(facts.path),
        format=facts.format,
        description=FORMATS[facts.format],
        architecture=facts.architecture,
        base=base,
        weights=_weights(tensors),
        head=None if stored is None else _head(facts, stored, tensors),
        tokens=_tokens(config, tokenizer),
        template=template,
        scored_token=token if is_decoder else "the pooled output of its class",
        normalization=_normalization(facts, record),
        problems=tuple(problems),
        warnings=(
            *plain_differences(facts, config, bias=bias),
            *notes,
            *_of_vocabulary(tokenizer, tensors, config),
        ),
    )


# Parts -------------------------------------------------------------------------------------------------------


def _base_of(facts: CheckpointFacts, problems: list[str]) -> tuple[str | None, Mapping[str, Any]]:
    """What an adapter is on, and the config of the whole model where it is on this machine."""
    if not facts.is_adapter:
        return None, facts.config
    source = _tried(lambda: base_source(facts.path), problems)
    if source is None or not Path(source).is_dir():
        if source is not None and Path(source).is_absolute():
            problems.append(f"the base model {source!r} is not there")
        return source, facts.config
    base = _tried(lambda: inspect_checkpoint(Path(source), head_key=facts.base_head_key), problems)
    if base is None:
        return source, facts.config
    if facts.head_weight_key is None and base.head_weight_key is None:
        problems.append(str(no_head(facts, ["base_model.model.score.weight", "v_head.summary.weight"])))
    return source, facts.config or base.config


def _stored(facts: CheckpointFacts, config: Mapping[str, Any], problems: list[str]) -> StoredHead | None:
    if facts.head_weight_key is None:
        if not facts.is_adapter:
            problems.append(
                str(no_head(facts, ["score.weight", "classifier.weight", "v_head.summary.weight"]))
            )
        return None
    stored = _tried(lambda: read_stored_head(facts), problems)
    hidden = (config.get("text_config") or config).get("hidden_size")
    if stored is not None and hidden is not None and hidden != stored.weight.shape[1]:
        problems.append(
            f"the head reads {stored.weight.shape[1]} numbers, and the model's hidden size is {hidden}"
        )
    return stored


def _tried(call: Any, problems: list[str]) -> Any:
    """What a call gives; its error becomes a problem, so that the rest can still be told."""
    try:
        return call()
    except PlauditError as error:
        problems.append(str(error))
        return None


def _weights(tensors: TensorFiles) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for name in tensors.names():
        counts[str(tensors.dtype(name)).removeprefix("torch.")] += math.prod(tensors.shape(name))
    return {
        "num_tensors": len(tensors),
        "num_parameters": sum(counts.values()),
        "num_bytes": sum(tensors.num_bytes(name) for name in tensors.names()),
        "dtypes": dict(counts.most_common()),
        "num_files": len(tensors.files),
    }


def _head(facts: CheckpointFacts, stored: StoredHead, tensors: TensorFiles) -> dict[str, Any]:
    assert facts.head_weight_key is not None
    assert facts.head_file is not None
    return {
        "weight": facts.head_weight_key,
        "bias": facts.head_bias_key,
        "file": facts.head_file.name,
        "shape": list(stored.weight.shape),
        "dtype": str(tensors.dtype(facts.head_weight_key)).removeprefix("torch."),
        "norm": float(stored.weight.double().norm()),
        "bias_value": None if stored.bias is None else [float(value) for value in stored.bias],
    }


def _tokenizer(path: Path, problems: list[str]) -> tuple[PreTrainedTokenizerBase | None, tuple[str, ...]]:
    loaded = _tried(lambda: load_tokenizer(path), problems)
    if loaded is None:
        return None, ()
    notes = [note.rstrip(".") for note in loaded.notes]
    if loaded.tokenizer.chat_template is None:
        notes.append(
            "the tokenizer has no chat template, so conversations are rendered as plain text (messages need one: "
            "--chat-template-path)"
        )
    elif "strftime_now" in str(loaded.tokenizer.chat_template):
        notes.append("the chat template writes today's date, so rewards change from day to day")
    return loaded.tokenizer, tuple(notes)


def _template(
    tokenizer: PreTrainedTokenizerBase | None, record: ModelRecord | None, problems: list[str]
) -> tuple[dict[str, Any], str]:
    if tokenizer is None:
        return {"rendering": None, "sha256": None, "ends_with": None}, "the last token"
    found = template_sha256(tokenizer.chat_template)
    rule = None if record is None else record.rendering
    if rule is not None and rule.render == "chat" and rule.template_sha256 != found:
        problems.append("the chat template is not the one the model was trained with (by plaudit.json)")
    rendering = ("text" if found is None else "chat") if rule is None else rule.render
    token = scored_token(tokenizer, rule)
    if token is None:
        return {"rendering": rendering, "sha256": found, "ends_with": None}, "the last token"
    return {"rendering": rendering, "sha256": found, "ends_with": token.text}, str(token)


def _tokens(config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    text = config.get("text_config") or config
    pad, eos = text.get("pad_token_id", config.get("pad_token_id")), end_of_sequence_ids(config)
    return {
        "pad_token_id": pad,
        "eos_token_ids": list(eos),
        "pad_is_eos": pad is not None and pad in eos,
        "pad_token": None if tokenizer is None else str(tokenizer.pad_token),
        "eos_token": None if tokenizer is None or tokenizer.eos_token is None else str(tokenizer.eos_token),
        "num_tokens": None if tokenizer is None else len(tokenizer),
    }


def _normalization(facts: CheckpointFacts, record: ModelRecord | None) -> dict[str, Any] | None:
    source = "plaudit.json"
    known = find_normalization(record, None)
    if known is None:
        source, known = "config.json (OpenRLHF)", find_normalization(None, facts.config)
    return None if known is None else {"mean": known.mean, "std": known.std, "source": source}


def _of_vocabulary(
    tokenizer: PreTrainedTokenizerBase | None, tensors: TensorFiles, config: Mapping[str, Any]
) -> list[str]:
    rows = (config.get("text_config") or config).get("vocab_size")
    if tokenizer is None or rows is None or len(tokenizer) <= rows:
        return []
    return [
        f"the tokenizer has {len(tokenizer):,} tokens and the embedding {rows:,} rows: new rows are untrained"
    ]
