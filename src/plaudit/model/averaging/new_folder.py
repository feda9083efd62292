"""The folder of an average: its weights, its config and its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from plaudit.model.averaging.members import Member
from plaudit.model.convert.configs import target_config
from plaudit.model.convert.output_tensor import OutputTensor
from plaudit.model.convert.shards import write_file, write_model_shards
from plaudit.model.record import ModelRecord, installed_versions
from plaudit.model.tensor_files import VALUE_HEAD

__all__ = ["averaged_config", "averaged_record", "write_weights"]


def write_weights(
    folder: Path, first: Member, tensors: Sequence[OutputTensor], on_bytes: Callable[[int], None] | None
) -> None:
    """As the first model keeps them: a value head that has a file of its own gets one again."""
    apart = {name for name in first.tensors.names() if first.tensors.file_of(name).name in VALUE_HEAD}
    write_model_shards(folder, [tensor for tensor in tensors if tensor.name not in apart], on_bytes=on_bytes)
    if apart:
        head = [tensor for tensor in tensors if tensor.name in apart]
        write_file(folder / VALUE_HEAD[0], head, on_bytes=on_bytes)


def averaged_config(members: Sequence[Member], dtype: torch.dtype | None) -> dict[str, Any]:
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


def averaged_record(members: Sequence[Member]) -> ModelRecord | None:
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
