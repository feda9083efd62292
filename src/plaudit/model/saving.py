"""Saving a reward model as plain transformers or as an adapter of peft, whole or not at all."""

from __future__ import annotations

import copy
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
from plaudit.model.convert.value_head_folder import write_with_value_head
from plaudit.model.loading import load_reward_model
from plaudit.model.merging import merge_adapter
from plaudit.model.partitioned import loaded_whole
from plaudit.model.record import ModelRecord
from plaudit.model.reward_model import RewardModel

__all__ = ["save_reward_model", "whole_folder"]

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MODEL_FILES = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
"""Of a whole model, as patterns: an earlier save may have left them where an adapter is written now."""
VALUE_HEAD_FILES = ("value_head.safetensors", "value_head.bin")
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
        folder: Where to. An interrupted save leaves what was there before.
        tokenizer: Written beside it with its chat template.
        record: Written as ``plaudit.json``.
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
    written = f"value_head.{value_head_format}" if head == "value" else None
    _remove(Path(folder), [name for name in VALUE_HEAD_FILES if name != written])
    if merge or not has_adapter(model):
        _remove(Path(folder), ADAPTER_FILES)  # with them there the folder would be read as an adapter
    else:
        _remove(Path(folder), MODEL_FILES)


def _remove(folder: Path, patterns: Iterable[str]) -> None:
    """Delete what an earlier save of the other kind left."""
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink()


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
