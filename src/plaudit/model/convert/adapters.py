"""An adapter re-keyed: a value head beside it becomes a score head inside it, and the reverse.

The adapter's own tensors have the same names under a causal and under a sequence-classification model; what differs
is the task, where the head is, and whether it has a bias.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.convert.configs import target_config
from plaudit.model.convert.fit import has_linear_score
from plaudit.model.convert.layer_merging import HEADS, adapter_names
from plaudit.model.convert.locations import adapter_config_of, base_folder, with_absolute_base
from plaudit.model.convert.output_tensor import OutputTensor, given_tensor, stored_tensor
from plaudit.model.convert.shards import write_file
from plaudit.model.convert.source import Head, read_head, skeleton
from plaudit.model.convert.targets import ConversionOptions
from plaudit.model.convert.value_head_file import write_value_head
from plaudit.model.tensor_names import LANGUAGE_HEADS, PEFT_PREFIX

__all__ = ["adapter_head", "write_adapter_folder"]


def adapter_head(facts: CheckpointFacts, options: ConversionOptions) -> tuple[Head, list[str]]:
    """The head of a model with an adapter: saved with the adapter, or its base's.

    Raises:
        PlauditError: Neither has one.
    """
    if any(name.startswith(HEADS) and "lora_" in name for name in adapter_names(facts.open_tensors())):
        raise PlauditError(
            "there is an adapter on the head, which is no head of its own",
            where=str(facts.path),
            fix="Merge it: --merge-adapter.",
        )
    _require_linear_score(facts, options)
    owner = facts
    if facts.head_weight_key is None:
        owner = inspect_checkpoint(base_folder(facts.path), head_key=facts.base_head_key)
    return read_head(owner, dtype=options.dtype)


def _require_linear_score(facts: CheckpointFacts, options: ConversionOptions) -> None:
    """Raise for a class that pools in its own way (encoders): its head is not one layer that could be moved."""
    try:
        base = inspect_checkpoint(base_folder(facts.path))
        is_linear = has_linear_score(skeleton(base.path, base.config))
    except PlauditError:  # not on this machine: then by the name that encoders give their heads
        is_linear = ".classifier." not in (facts.head_weight_key or "")
    if not is_linear:
        raise PlauditError(
            f"the base pools in a way of its own, which {options.to} cannot say",
            where=str(facts.path),
            fix="Its adapter is one of peft for sequence classification already. A whole model: --to "
            "sequence-classification --merge-adapter.",
        )


def write_adapter_folder(
    folder: Path, facts: CheckpointFacts, head: Head, options: ConversionOptions, *, pad_token_id: int | None
) -> tuple[list[OutputTensor], list[str]]:
    """Write an adapter with its head into a folder that is there.

    Returns:
        What was written, and what has to be said of it.
    """
    files = facts.open_tensors()
    config = adapter_config_of(facts.path)
    names = {name: source for name, source in adapter_names(files).items() if not name.startswith(HEADS)}
    on_language_head = [name for name in names if name.startswith(LANGUAGE_HEADS)]
    as_score = options.to == "adapter"
    notes = []
    if on_language_head and as_score:
        notes.append(f"{len(on_language_head)} tensors on the language-model head were left out")
        names = {name: source for name, source in names.items() if name not in on_language_head}
    tensors = [
        stored_tensor(files, source, PEFT_PREFIX + name, dtype=options.dtype)
        for name, source in names.items()
    ]
    if as_score:
        tensors.append(given_tensor(f"{PEFT_PREFIX}score.weight", head.weight))
        if head.written_bias is not None and options.keeps_bias:
            tensors.append(given_tensor(f"{PEFT_PREFIX}score.bias", head.written_bias))
        notes += _write_model_config(folder, facts, options, pad_token_id)
    else:
        write_value_head(folder, head, options)
    write_file(folder / "adapter_model.safetensors", tensors)
    text = json.dumps(_adapter_config(config, facts.path, as_score=as_score), indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    return tensors, notes


def _adapter_config(config: dict[str, Any], source: Path, *, as_score: bool) -> dict[str, Any]:
    new = dict(config)
    new["task_type"] = "SEQ_CLS" if as_score else "CAUSAL_LM"
    kept = [name for name in config.get("modules_to_save") or () if f"{name}." not in HEADS]
    if as_score:
        kept = ["score", *(name for name in kept if f"{name}." not in LANGUAGE_HEADS)]
        if isinstance(targets := config.get("target_modules"), list):
            new["target_modules"] = [name for name in targets if f"{name}." not in LANGUAGE_HEADS]
    new["modules_to_save"] = kept or None
    return with_absolute_base(new, source)


def _write_model_config(
    folder: Path, facts: CheckpointFacts, options: ConversionOptions, pad_token_id: int | None
) -> list[str]:
    """Beside a score adapter, what the model is with it: one output, its pad token (`adapter_reading`)."""
    config = facts.config
    if not config:
        try:
            config = inspect_checkpoint(base_folder(facts.path)).config
        except PlauditError as error:
            return [f"no config.json was written, since the base cannot be read ({error.what})"]
    rows = (config.get("text_config") or config).get("vocab_size")
    is_new = rows is not None and pad_token_id is not None and pad_token_id >= rows
    new = target_config(
        config,
        "sequence-classification",
        pad_token_id=pad_token_id,
        vocab_size=pad_token_id + 1 if is_new and pad_token_id is not None else None,
    )
    (folder / "config.json").write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")
    if not is_new:
        return []
    return [
        f"the pad token that was added (id {pad_token_id}) has no row in the base: config.json asks for one more, and "
        "whoever loads the adapter resizes the base's embedding first (plaudit and peft's Auto classes do)"
    ]
