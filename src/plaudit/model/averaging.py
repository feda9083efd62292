"""One reward model from several: the weighted mean of their weights (WARM, Rame et al., arXiv:2401.12187).

Fine-tunings of one pre-trained model lie in one basin, where the mean of their weights is about as good as the mean of
their rewards, costs one model to run, and keeps less of what each has memorised. Models of different pre-trainings do
not; nothing in their files says so, so it is the caller's to know.

Written as a stream, one block of a tensor at a time. Sums are in float32. A value on which all models agree is kept bit
for bit, whatever the weights, so the average of one model with itself is that model.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.convert.configs import target_config
from plaudit.model.convert.locations import model_folder
from plaudit.model.convert.output_tensor import OutputTensor, stored_tensor
from plaudit.model.convert.shards import write_file, write_model_shards
from plaudit.model.convert.side_files import SideFiles
from plaudit.model.convert.staging import staged_folder
from plaudit.model.record import ModelRecord, installed_versions, replace_json
from plaudit.model.tensor_files import VALUE_HEAD, TensorFiles
from plaudit.tokens.difference import rendering_difference

__all__ = ["AveragingReport", "average_reward_models"]

FREE_FIELDS = (
    *("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "problem_type"),
    *("initializer_range", "initializer_factor", "*dropout*", "*pdrop", "gradient_checkpointing"),
    *("mean", "std", "normalize_reward", "bos_token_id", "eos_token_id"),
)
"""Fields of config.json, as patterns, that do not change what the weights compute: models may differ in them."""


@dataclass(kw_only=True, slots=True)
class AveragingReport:
    """What averaging did."""

    models: tuple[str, ...]
    """As they were given."""
    weights: tuple[float, ...]
    """The share of each; they add up to 1."""
    num_tensors: int = 0
    """Tensors written."""
    num_identical: int = 0
    """Those that are the same in all models; they are kept byte for byte unless a cast was asked for."""
    num_bytes: int = 0
    """Size of all tensors written."""
    is_cast: bool = False
    """Whether ``dtype`` changed the bytes of a tensor on which all models agree."""
    notes: tuple[str, ...] = ()
    """What has to be said of it."""

    def summary(self) -> list[str]:
        """Lines for a terminal."""
        shares = ", ".join(
            f"{weight:g} of {model}" for model, weight in zip(self.models, self.weights, strict=True)
        )
        same = f"{self.num_identical:,} of {self.num_tensors:,} tensors are the same in all models"
        kept = ""
        if self.num_identical:
            kept = "; they were cast" if self.is_cast else "; they were kept byte for byte"
        return [shares, f"{same}{kept} ({self.num_bytes / 1e9:,.2f} GB written)", *self.notes]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    """One of the models."""

    name: str
    weight: float
    facts: CheckpointFacts
    tensors: TensorFiles = field(repr=False)
    side: SideFiles = field(repr=False)


def average_reward_models(
    models: Sequence[str | Path],
    output_dir: str | Path,
    *,
    weights: Sequence[float] | None = None,
    dtype: torch.dtype | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> AveragingReport:
    """Write the folder of a reward model whose weights are the weighted mean of others', head and bias included.

    Args:
        models: Folders or hub ids of M models of one architecture, format and tokenizer.
        output_dir: A new folder; it appears whole or not at all.
        weights: M shares that add up to 1; equal ones when absent.
        dtype: Precision of the result; None keeps each tensor's own, the widest where models differ.
        on_bytes: Called with the number of bytes written since the last call.

    Raises:
        PlauditError: The models cannot be averaged, naming what differs; or the output exists.
    """
    members = _read_members([str(model) for model in models], _shares(weights, len(models)))
    first, *others = members
    for other in others:
        _check_alike(first, other)
    report = AveragingReport(
        models=tuple(member.name for member in members), weights=tuple(member.weight for member in members)
    )
    tensors = [_averaged(name, members, dtype, report) for name in first.tensors.names()]
    with staged_folder(Path(output_dir)) as folder:
        _write_weights(folder, first, tensors, on_bytes)
        first.side.copy_files(folder)
        replace_json(folder / "config.json", _config(members, dtype))
        if (record := _record(members)) is not None:
            record.write(folder)
    report.num_tensors, report.num_bytes = len(tensors), sum(tensor.num_bytes for tensor in tensors)
    report.notes = _notes(members)
    return report


# What may be averaged -------------------------------------------------------------------------------------


def _shares(weights: Sequence[float] | None, num_models: int) -> tuple[float, ...]:
    if num_models < 2:
        raise PlauditError(f"{num_models} model", where="merge", fix="Give two or more to average.")
    if weights is None:
        return (1 / num_models,) * num_models
    if len(weights) != num_models:
        raise PlauditError(
            f"{len(weights)} weights for {num_models} models",
            where="--weights",
            fix="Give one for each model.",
        )
    if not all(0 <= weight <= 1 for weight in weights) or abs(sum(weights) - 1) > 1e-6:
        raise PlauditError(
            f"{', '.join(f'{weight:g}' for weight in weights)} add up to {sum(weights):g}",
            where="--weights",
            fix="Give shares from 0 to 1 that add up to 1, such as 0.5,0.5.",
        )
    return tuple(weights)


def _read_members(models: Sequence[str], weights: Sequence[float]) -> list[_Member]:
    members: list[_Member] = []
    for name, weight in zip(models, weights, strict=True):
        folder = model_folder(name)
        facts = inspect_checkpoint(folder)
        _check_is_whole(name, facts)
        member = _Member(
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


def _check_alike(first: _Member, other: _Member) -> None:
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


def _facts_side_by_side(first: _Member, other: _Member) -> Iterator[tuple[str, Any, Any]]:
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


def _rendering_difference(first: _Member, other: _Member) -> str | None:
    mine, theirs = first.side.renderer(), other.side.renderer()
    if mine is None or theirs is None:
        if mine is theirs:
            return None
        return f"{(first if mine is None else other).name} has no tokenizer"
    return rendering_difference(mine, theirs)


def _unlike(first: _Member, other: _Member, difference: str) -> PlauditError:
    return PlauditError(
        f"cannot be averaged with {first.name}, since they differ ({difference})",
        where=other.name,
        fix="Average fine-tunings of one model, in one format and with one tokenizer and template; "
        "or ask them together, as an ensemble.",
    )


# The mean -------------------------------------------------------------------------------------------------


def _averaged(
    name: str, members: Sequence[_Member], dtype: torch.dtype | None, report: AveragingReport
) -> OutputTensor:
    """The weighted mean of one tensor, computed when its turn comes."""
    dtypes = [member.tensors.dtype(name) for member in members]
    widest = reduce(torch.promote_types, dtypes)
    wanted = dtype if dtype is not None and widest.is_floating_point else widest
    weights = [member.weight for member in members]

    def blocks() -> Iterator[Tensor]:
        is_identical = True
        for parts in _blocks_side_by_side(name, members):
            is_same = all(torch.equal(_bits(parts[0]), _bits(part)) for part in parts[1:])
            is_identical &= is_same
            if is_same:
                yield parts[0].to(wanted)
            elif widest.is_floating_point:
                yield _mean(parts, weights).to(wanted)
            else:
                raise PlauditError(
                    f"its values are {widest} and differ between the models, so they have no mean",
                    where=name,
                    fix="Average models that share it.",
                )
        report.num_identical += is_identical
        report.is_cast |= is_identical and wanted != widest

    return OutputTensor(name=name, shape=members[0].tensors.shape(name), dtype=wanted, blocks=blocks)


def _blocks_side_by_side(name: str, members: Sequence[_Member]) -> Iterator[list[Tensor]]:
    """The same elements of each model at a time."""
    kinds = {(member.tensors.file_of(name).suffix, member.tensors.dtype(name)) for member in members}
    if len(kinds) > 1:  # each kind is cut into blocks in its own way
        yield [member.tensors.tensor(name) for member in members]
        return
    streams = [stored_tensor(member.tensors, name, name).blocks() for member in members]
    for parts in zip(*streams, strict=True):
        yield list(parts)


def _mean(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean in float32 (float64 of float64); where all parts have one value, that value."""
    precision = reduce(torch.promote_types, [part.dtype for part in parts], torch.float32)
    first = parts[0].to(precision)
    total, is_same = first * weights[0], torch.ones_like(first, dtype=torch.bool)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        part = part.to(precision)
        total.add_(part, alpha=weight)
        is_same &= part == first
    return torch.where(is_same, first, total)  # three thirds of a number can round to its neighbour


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


# The folder -----------------------------------------------------------------------------------------------


def _write_weights(
    folder: Path, first: _Member, tensors: Sequence[OutputTensor], on_bytes: Callable[[int], None] | None
) -> None:
    """As the first model keeps them: a value head that has a file of its own gets one again."""
    apart = {name for name in first.tensors.names() if first.tensors.file_of(name).name in VALUE_HEAD}
    write_model_shards(folder, [tensor for tensor in tensors if tensor.name not in apart], on_bytes=on_bytes)
    if apart:
        head = [tensor for tensor in tensors if tensor.name in apart]
        write_file(folder / VALUE_HEAD[0], head, on_bytes=on_bytes)


def _config(members: Sequence[_Member], dtype: torch.dtype | None) -> dict[str, Any]:
    """The first model's config, with what each reader needs; the members' mean and spread do not hold for the mean."""
    facts = members[0].facts
    names = {str(m.facts.config.get("dtype") or m.facts.config.get("torch_dtype")) for m in members}
    if dtype is None and len(names) > 1:
        known = [getattr(torch, name) for name in names if name != "None"]
        dtype = reduce(torch.promote_types, known)
    pad_token_id = members[0].side.pad_token_id
    if pad_token_id is not None and pad_token_id >= _vocab_size(facts.config):
        pad_token_id = None  # added by `load_tokenizer`; the embedding gets its row where the model is loaded
    to = "value-head" if facts.format.startswith("value-head") else facts.format
    if to not in ("sequence-classification", "value-head", "openrlhf") or facts.has_reward_weights:
        config = dict(facts.config)  # several outputs stay several, as the config names them
        if pad_token_id is not None:
            config["pad_token_id"] = pad_token_id
        if dtype is not None:
            config.pop("torch_dtype", None)
            config["dtype"] = str(dtype).removeprefix("torch.")
        return config
    config = target_config(facts.config, to, pad_token_id=pad_token_id, dtype=dtype)
    if to == "openrlhf":
        assert facts.head_weight_key is not None
        config["value_head_prefix"] = facts.head_weight_key.removesuffix(".weight")
    return config


def _vocab_size(config: dict[str, Any]) -> int:
    return int((config.get("text_config") or config).get("vocab_size") or 0)


def _record(members: Sequence[_Member]) -> ModelRecord | None:
    """What the new folder says of itself; None where there is no tokenizer, and so no rendering to record."""
    renderer = members[0].side.renderer()
    if renderer is None:
        return None
    known = [member.side.record for member in members]
    record = known[0] or ModelRecord(
        rendering=renderer.rule, transcripts="messages" if renderer.render == "chat" else "text"
    )
    bases = {one.base_model for one in known if one is not None}
    data = {one.data_fingerprint if one is not None else None for one in known}
    return replace(
        record,
        max_length=min((one.max_length for one in known if one is not None and one.max_length), default=None),
        base_model=bases.pop() if len(bases) == 1 else None,
        data_fingerprint=data.pop() if len(data) == 1 else None,
        reward_mean=None,
        reward_std=None,
        num_rewards=0,
        temperature=None,
        calibration={},
        averaged_from=[{"model": member.name, "weight": member.weight} for member in members],
        versions=installed_versions(),
    )


def _notes(members: Sequence[_Member]) -> tuple[str, ...]:
    notes = ["mean, standard deviation and temperature of its rewards are not known: plaudit calibrate"]
    bases = {m.side.record.base_model for m in members if m.side.record and m.side.record.base_model}
    if len(bases) > 1:
        notes.append(
            f"they were trained from different models ({', '.join(sorted(bases))}); averages of weights are good "
            "only within one pre-training"
        )
    return tuple(notes)
