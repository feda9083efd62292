"""The models of an average, and whether they can be averaged."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.convert.locations import model_folder
from plaudit.model.convert.side_files import SideFiles
from plaudit.model.tensor_files import TensorFiles
from plaudit.tokens.difference import rendering_difference

__all__ = ["Member", "check_alike", "read_members"]

FREE_FIELDS = (
    *("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "problem_type"),
    *("initializer_range", "initializer_factor", "*dropout*", "*pdrop", "gradient_checkpointing"),
    *("mean", "std", "normalize_reward", "bos_token_id", "eos_token_id"),
)
"""Fields of config.json, as patterns, that do not change what the weights compute: models may differ in them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One of the models."""

    name: str
    weight: float
    facts: CheckpointFacts
    tensors: TensorFiles = field(repr=False)
    side: SideFiles = field(repr=False)


def read_members(models: Sequence[str], weights: Sequence[float]) -> list[Member]:
    members: list[Member] = []
    for name, weight in zip(models, weights, strict=True):
        folder = model_folder(name)
        facts = inspect_checkpoint(folder)
        _check_is_whole(name, facts)
        member = Member(
            name=name, weight=weight, facts=facts, tensors=facts.open_tensors(), side=SideFiles(folder)
        )
        members.append(member)
    return members


def _check_is_whole(name: str, facts: CheckpointFacts) -> None:
    if facts.is_adapter:
        raise PlauditError(
            "is an adapter, and the mean of adapters is not the adapter of the mean",
            where=name,
            fix="Merge it into its base first: "
            f"plaudit convert {name} MERGED --to sequence-classification --merge-adapter.",
        )
    if facts.head_weight_key is None:
        raise PlauditError(
            "has no reward head",
            where=name,
            fix="Average reward models, not the models they were trained from.",
        )
    if facts.config.get("quantization_config"):
        raise PlauditError(
            "its weights are quantised, and codes cannot be averaged",
            where=name,
            fix="Give the model in 16 or 32 bits.",
        )


def check_alike(first: Member, other: Member) -> None:
    """Raise the error that names the first thing in which two models differ."""
    for what, mine, theirs in _facts_side_by_side(first, other):
        if mine != theirs:
            raise _unlike(first, other, f"{what}: {mine} and {theirs}")
    mine, theirs = set(first.tensors.names()), set(other.tensors.names())
    if apart := sorted(mine ^ theirs):
        where = "only the first has" if apart[0] in mine else "only the second has"
        raise _unlike(first, other, f"{len(apart):,} tensors are in one alone: {where} {apart[0]}")
    for name in first.tensors.names():
        shapes = first.tensors.shape(name), other.tensors.shape(name)
        if shapes[0] != shapes[1]:
            raise _unlike(first, other, f"{name} has the shapes {list(shapes[0])} and {list(shapes[1])}")
    if (difference := _rendering_difference(first, other)) is not None:
        raise _unlike(first, other, difference)


def _facts_side_by_side(first: Member, other: Member) -> Iterator[tuple[str, Any, Any]]:
    yield "formats", first.facts.format, other.facts.format
    yield "architectures", first.facts.architecture, other.facts.architecture
    yield "heads", first.facts.head_weight_key, other.facts.head_weight_key
    yield "biases of the head", first.facts.head_bias_key, other.facts.head_bias_key
    yield from _config_side_by_side("", first.facts.config, other.facts.config)
    mine, theirs = first.side.record, other.side.record
    if mine is not None and theirs is not None:
        yield "transcripts in training", mine.transcripts, theirs.transcripts


def _config_side_by_side(
    prefix: str, first: dict[str, Any], other: dict[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(first.keys() | other.keys()):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in FREE_FIELDS):
            continue
        mine, theirs = first.get(name), other.get(name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            yield from _config_side_by_side(f"{prefix}{name}.", mine, theirs)
        else:
            yield f"{prefix}{name} in config.json", mine, theirs


def _rendering_difference(first: Member, other: Member) -> str | None:
    mine, theirs = first.side.renderer(), other.side.renderer()
    if mine is None or theirs is None:
        if mine is theirs:
            return None
        return f"{(first if mine is None else other).name} has no tokenizer"
    return rendering_difference(mine, theirs)


def _unlike(first: Member, other: Member, difference: str) -> PlauditError:
    return PlauditError(
        f"cannot be averaged with {first.name}, since they differ ({difference})",
        where=other.name,
        fix="Average fine-tunings of one model, in one format and with one tokenizer and template; "
        "or ask them together, as an ensemble.",
    )
