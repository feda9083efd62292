"""Saving a reward model as plain transformers or as an adapter of peft, whole or not at all."""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from plaudit.model.adapter import has_adapter, reward_model_of
from plaudit.model.adapter_saving import write_adapter
from plaudit.model.checkpoint import OPENRLHF_FIELDS
from plaudit.model.convert.value_head_folder import write_with_value_head
from plaudit.model.loading import load_reward_model
from plaudit.model.merging import merge_adapter
from plaudit.model.normalization import find_normalization, is_openrlhf, normalization_fields
from plaudit.model.partitioned import loaded_whole
from plaudit.model.record import ModelRecord, replace_json
from plaudit.model.reward_model import RewardModel
from plaudit.model.tensor_files import ADAPTER, VALUE_HEAD, WHOLE

__all__ = ["save_reward_model", "whole_folder"]

ADAPTER_FILES = ("adapter_config.json", *ADAPTER)
MODEL_FILES = (*WHOLE, "model-*.safetensors", "pytorch_model-*.bin")
"""Of a whole model, as patterns, each before what it counts more than or lists. An earlier save may have left them."""
CONFIG_FILES = ("config.json", "adapter_config.json")
"""Moved last: a folder without them is no model."""

SCORE = ".score"
"""Folder for the model with its score head, of which the one with a value head is made."""


def save_reward_model(
    model: nn.Module,
    folder: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    record: ModelRecord | None = None,
    state_dict: dict[str, Tensor] | None = None,
    merge: bool = False,
    head: str = "score",
    value_head_format: str = "safetensors",
) -> None:
    """Write a folder that ``AutoModelForSequenceClassification`` loads with the same rewards.

    A model with an adapter becomes an adapter folder, which ``AutoPeftModelForSequenceClassification`` loads. With
    ``head="value"`` it is a folder that LLaMA-Factory reads: a causal model, or an adapter of one, and the head in a
    file beside it; the language-model head, which no reward depends on, is the base's.

    Args:
        model: The reward model, or a PeftModel around it.
        folder: Where to. An interrupted save leaves what was there before. Weights of an earlier save that this one
            does not write are removed.
        tokenizer: Written beside it with its chat template.
        record: Written as ``plaudit.json``. Without a mean and standard deviation in it, a model that came from
            OpenRLHF is saved without OpenRLHF's fields in its config: they were measured on other weights.
        state_dict: The weights, where they were gathered from several processes; an empty one writes the model
            without weights, for a checkpoint that has them in shards beside it.
        merge: Merge the adapter into the weights and write a plain model. One without an adapter is written as it is.
        head: ``score`` or ``value``.
        value_head_format: ``safetensors`` or ``bin``, of a value head's file.

    Raises:
        PlauditError: The adapter cannot be merged.
    """
    with whole_folder(Path(folder)) as part:
        place = part / SCORE if head == "value" else part
        place.mkdir(exist_ok=True)
        if not has_adapter(model):
            _write_plain(cast(PreTrainedModel, model), place, state_dict)
        elif not merge:
            write_adapter(model, place, tokenizer=tokenizer, state_dict=state_dict)
        else:
            _merged(model, tokenizer, state_dict).save_pretrained(place)
        _renew_openrlhf_fields(place, record)
        if tokenizer is not None:
            tokenizer.save_pretrained(place)
        if record is not None:
            record.write(place)
        if head == "value":
            write_with_value_head(
                place,
                part,
                base=reward_model_of(model).config.name_or_path or "",
                value_head_format=value_head_format,
            )
            shutil.rmtree(place)
        written = {entry.name for entry in part.iterdir()}
    is_without_weights = state_dict is not None and not state_dict
    _remove_stale(
        Path(folder), (*VALUE_HEAD, *ADAPTER_FILES, *(() if is_without_weights else MODEL_FILES)), written
    )


def _remove_stale(folder: Path, patterns: Iterable[str], written: set[str]) -> None:
    """Delete what an earlier save left, in the order of the patterns; after each step the folder can be read."""
    for pattern in patterns:
        for file in folder.glob(pattern):
            if file.name not in written and file.is_file():
                file.unlink()


def _renew_openrlhf_fields(folder: Path, record: ModelRecord | None) -> None:
    """Give a config that was just written the record's mean and std for OpenRLHF's, or leave all its fields out."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if not is_openrlhf(config):
        return
    if find_normalization(record, None) is None:
        kept = {name: value for name, value in config.items() if name not in OPENRLHF_FIELDS}
    else:
        is_on = bool(config.get("normalize_reward", False))
        kept = config | normalization_fields(record, normalize_reward=is_on)
    replace_json(file, kept)


def _write_plain(model: PreTrainedModel, folder: Path, state_dict: dict[str, Tensor] | None) -> None:
    if state_dict is None or state_dict:
        model.save_pretrained(folder, state_dict=state_dict)
        return
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__.removeprefix("FSDP")]
    config.save_pretrained(folder)


def _merged(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase | None, state_dict: dict[str, Tensor] | None
) -> RewardModel:
    if state_dict is None:
        return merge_adapter(model)
    # Gathered from several processes, each of which holds a part: only the adapter is whole here. So it is put on
    # the base anew.
    with tempfile.TemporaryDirectory() as folder:
        write_adapter(model, Path(folder), tokenizer=tokenizer, state_dict=state_dict)
        with loaded_whole():
            return merge_adapter(load_reward_model(folder, tokenizer=tokenizer, attention="padded").model)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling to write into, which takes the folder's place once the block ends without an error.

    A folder that is new appears at once. Into one that exists the files are moved one by one, the configs last, so
    that other things in it (checkpoints of the run) stay.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
    try:
        yield part
        part.chmod(0o755)
        if not folder.exists():
            os.rename(part, folder)
            return
        for file in sorted(part.iterdir(), key=lambda entry: entry.name in CONFIG_FILES):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
