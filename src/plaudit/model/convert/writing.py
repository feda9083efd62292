"""A recognised folder written in another format, tensor by tensor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import CheckpointFacts
from plaudit.model.convert.adapters import adapter_head, write_adapter_folder
from plaudit.model.convert.configs import target_config
from plaudit.model.convert.language_head import language_head_for
from plaudit.model.convert.locations import base_folder
from plaudit.model.convert.merged_source import read_merged_model
from plaudit.model.convert.output_tensor import OutputTensor, given_tensor, with_new_rows
from plaudit.model.convert.proof import Proof
from plaudit.model.convert.shards import write_model_shards
from plaudit.model.convert.side_files import SideFiles, has_tokenizer
from plaudit.model.convert.source import Head, SourceModel, embedding_name, read_whole_model
from plaudit.model.convert.targets import ConversionOptions
from plaudit.model.convert.value_head_file import write_value_head
from plaudit.model.tensor_names import PEFT_PREFIX

__all__ = ["Conversion", "side_files_of", "write_converted"]

SCRATCH = ".merged"
"""Folder inside the new one for a model that has to be merged in memory; it is removed at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What was written."""

    source_format: str
    """What the source was recognised as."""
    to: str
    """What it became."""
    shift: float
    """By how much every reward moved: minus the bias that was dropped, or 0."""
    tensors: Sequence[OutputTensor] = field(repr=False)
    """The tensors of its weight files, a value head's own file left out."""
    written: Mapping[str, torch.dtype] = field(repr=False)
    """The dtype of every tensor, by the name that it has in a loaded model."""
    notes: tuple[str, ...]
    """What has to be said, as sentences without a full stop."""
    proof: Proof | None = None
    """None where none was asked for."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the values written."""
        return sum(tensor.num_bytes for tensor in self.tensors)


def write_converted(
    facts: CheckpointFacts,
    folder: Path,
    options: ConversionOptions,
    *,
    on_bytes: Callable[[int], None] | None = None,
) -> Conversion:
    """Write a recognised folder in another format into a folder that is there, without proof."""
    sides = side_files_of(facts)
    if facts.is_adapter and not options.merge_adapter:
        head, notes = adapter_head(facts, options)
        tensors, more = write_adapter_folder(folder, facts, head, options, pad_token_id=sides.pad_token_id)
        notes, config = [*notes, *more], facts.config
    else:
        tensors, head, notes, config = _write_whole(facts, folder, options, sides, on_bytes)
    shift = _shift(head, options)
    if options.to == "openrlhf":
        config = {}  # mean and standard deviation are in the new one
    sides.copy_to(folder, config=config, shift=shift, rewrites_tokenizer=facts.is_adapter)
    return Conversion(
        source_format=facts.format,
        to=options.to,
        shift=shift,
        tensors=tensors,
        written=_written(tensors, head, options),
        notes=(*notes, *_bias_notes(head, options), *sides.notes),
    )


def _write_whole(
    facts: CheckpointFacts,
    folder: Path,
    options: ConversionOptions,
    sides: SideFiles,
    on_bytes: Callable[[int], None] | None,
) -> tuple[list[OutputTensor], Head | None, list[str], dict]:
    """Write config and weights of a whole model."""
    if facts.is_adapter:
        model = read_merged_model(facts, scratch=folder / SCRATCH, dtype=options.dtype)
    else:
        model = read_whole_model(facts, dtype=options.dtype)
    if model.head is None and options.to != "sequence-classification":
        raise PlauditError(
            f"{facts.architecture} pools in a way of its own, which {options.to} cannot say",
            where=str(facts.path),
            fix="Convert to sequence-classification.",
        )
    model = _fit_to_tokenizer(model, sides)
    ties = False
    if options.to == "value-head":
        model, ties = language_head_for(model, options)
    tensors = _tensors(model, options)
    config = target_config(
        model.config,
        options.to,
        pad_token_id=sides.pad_token_id,
        vocab_size=_num_rows(model),
        dtype=options.dtype,
        ties_language_head=ties,
        normalization=sides.normalization(model.config, _shift(model.head, options)),
    )
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    if options.to == "value-head":
        assert model.head is not None
        write_value_head(folder, model.head, options)
    write_model_shards(folder, tensors, max_shard_bytes=options.max_shard_bytes, on_bytes=on_bytes)
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    return tensors, model.head, list(model.notes), model.config


def _written(
    tensors: Sequence[OutputTensor], head: Head | None, options: ConversionOptions
) -> dict[str, torch.dtype]:
    """Names of a loaded model, and what the tensors were written in."""
    written = {tensor.name.removeprefix(PEFT_PREFIX): tensor.dtype for tensor in tensors}
    if head is not None:  # a value head is in a file of its own
        written["score.weight"] = head.weight.dtype
        if head.written_bias is not None and options.keeps_bias:  # one that is dropped is not rounded first
            written["score.bias"] = head.written_bias.dtype
    return written


def _tensors(model: SourceModel, options: ConversionOptions) -> list[OutputTensor]:
    """The tensors of the weight files, in order."""
    tensors = list(model.backbone)
    if options.to == "value-head":
        return [*tensors, *model.language_head]
    if model.head is not None:
        tensors.append(given_tensor("score.weight", model.head.weight))
        if model.head.written_bias is not None and options.keeps_bias:
            tensors.append(given_tensor("score.bias", model.head.written_bias))
    return tensors


def _fit_to_tokenizer(model: SourceModel, sides: SideFiles) -> SourceModel:
    """An embedding row for the pad token: it may have been added, since there was none that could serve.

    Other tokens without a row stay without one: they are the source's.
    """
    if sides.tokenizer is None:
        pad, eos = model.config.get("pad_token_id"), model.config.get("eos_token_id")
        if pad is None or pad == eos:
            return model.with_notes(
                "no tokenizer is there, and the config's pad token is none or the end-of-sequence token: plain "
                "transformers will read batches at the wrong token"
            )
        return model
    name = embedding_name(model.skeleton)
    rows = next((tensor.shape[0] for tensor in model.backbone if tensor.name == name), None)
    pad_token_id = sides.pad_token_id
    num_new = 0 if rows is None or pad_token_id is None else pad_token_id + 1 - rows
    if num_new <= 0:
        return model
    return SourceModel(
        config=model.config,
        skeleton=model.skeleton,
        backbone=tuple(with_new_rows(t, num_new) if t.name == name else t for t in model.backbone),
        language_head=model.language_head,  # made as tall where it is written
        head=model.head,
        notes=(*model.notes, f"the embedding got {num_new} rows of zeros for the pad token that was added"),
    )


def _num_rows(model: SourceModel) -> int | None:
    name = embedding_name(model.skeleton)
    return next((tensor.shape[0] for tensor in model.backbone if tensor.name == name), None)


def _shift(head: Head | None, options: ConversionOptions) -> float:
    if head is None or head.bias is None or options.keeps_bias:
        return 0.0
    return 0.0 - float(head.bias.double())


def _bias_notes(head: Head | None, options: ConversionOptions) -> list[str]:
    """What the choice about the bias means."""
    if head is None or head.bias is None or head.written_bias is None or not float(head.bias):
        return []
    value = float((head.written_bias if options.keeps_bias else head.bias).double())
    if not options.keeps_bias:
        return [
            f"the head's bias {value:+.9g} was dropped: every reward is {-value:+.9g} of what it was; margins stay"
        ]
    if options.to != "value-head":
        return [
            f"the head's bias {value:+.9g} was kept as score.bias: plaudit and vLLM add it, plain transformers leaves "
            f"it out without a word (rewards {-value:+.9g} there)"
        ]
    return []


def side_files_of(facts: CheckpointFacts) -> SideFiles:
    """An adapter's tokenizer may be its base's; its record is its own."""
    if not facts.is_adapter or has_tokenizer(facts.path):
        return SideFiles(facts.path)
    try:
        return SideFiles(base_folder(facts.path), record_folder=facts.path)
    except PlauditError:
        return SideFiles(facts.path)
