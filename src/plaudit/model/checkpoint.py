"""What a model folder is, read from its config and tensor names before any weight is loaded.

File names decide nothing: a folder is a reward model when its weights hold a head, and what it is called follows
from where the head is and what the config says. How each format is read: `plaudit.model.loading.READERS`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError
from plaudit.model.head_keys import HeadKeys, find_head, has_tensor, looks_like_head
from plaudit.model.tensor_files import TensorFiles

__all__ = [
    "FORMATS",
    "OPENRLHF_FIELDS",
    "OPENRLHF_MARKS",
    "PRETRAINED_PREFIX",
    "CheckpointFacts",
    "inspect_checkpoint",
]

FORMATS = {
    "sequence-classification": "transformers' sequence classification, decoders (score) and encoders (classifier)",
    "value-head": "a causal model with a value head beside it or among its tensors (LLaMA-Factory, TRL)",
    "value-head-adapter": "an adapter of peft with a value head beside it (LLaMA-Factory with LoRA)",
    "value-head-one-file": "pretrained_model.* and v_head.* in one state dict (older TRL)",
    "openrlhf": "OpenRLHF's reward model",
    "token-classification": "token classification with one label (LLaMA-Factory v1)",
    "adapter": "an adapter of peft, its head among its tensors or in its base",
    "headless": "a causal or bare model without a reward head",
}
"""Formats by name, in words."""

PRETRAINED_PREFIX = "pretrained_model."
"""What older TRL puts before the causal model's own names."""

OPENRLHF_MARKS = ("value_head_prefix", "normalize_reward")
"""What OpenRLHF writes into config.json, and nobody else."""

OPENRLHF_FIELDS = (*OPENRLHF_MARKS, "mean", "std")
"""Its fields there: where the head is, and what was measured of its rewards."""

OLDER_OPENRLHF_HEAD = "value_head.weight"
"""What it called its head before the config said so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFacts:
    """A model folder, recognised."""

    path: Path
    """The folder."""
    format: str
    """One of `FORMATS`."""
    architecture: str
    """The class named in the config, or an empty string."""
    num_labels: int
    """Outputs of the head by its tensor; by the config where the head is not in the folder."""
    has_reward_weights: bool
    """Whether its outputs are attributes whose weights in the reward the config holds."""
    head_keys: tuple[str, ...]
    """Tensor names that look like a head's."""
    num_tensors: int
    """Tensors in the folder."""
    head_weight_key: str | None = None
    """Full name of the tensor [num_labels, hidden] that maps to the reward; None where the folder has none."""
    head_bias_key: str | None = None
    """Full name of its bias [num_labels]; None without one."""
    head_file: Path | None = None
    """The file that the head's weight is in."""
    tensor_files: tuple[Path, ...] = ()
    """All files with tensors, the head's included; `TensorFiles(path, files=...)` reads them."""
    base_head_key: str | None = None
    """The name that was given for the head, where an adapter without a head lacks it: it is one of its base's."""
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    """What config.json says; empty where there is none (adapters of other tools)."""

    @property
    def is_adapter(self) -> bool:
        """Whether the folder holds an adapter, with or without a value head."""
        return self.format in ("adapter", "value-head-adapter")

    def open_tensors(self) -> TensorFiles:
        """The folder's tensors, to be read one at a time."""
        return TensorFiles(self.path, files=self.tensor_files)


def inspect_checkpoint(path: Path, *, head_key: str | None = None) -> CheckpointFacts:
    """Recognise a local model folder.

    Args:
        path: The folder.
        head_key: The name of the head's weight, where it has an unusual one. An adapter without a head may lack it:
            whoever goes on to the base looks it up there (``CheckpointFacts.base_head_key``).

    Raises:
        PlauditError: The folder has no readable config, a weight file is damaged, missing or holds code, there is no
            tensor of the given name, or it cannot be told which of several is the head.
    """
    is_adapter = (path / "adapter_config.json").is_file()
    config = {} if is_adapter and not (path / "config.json").is_file() else _read_config(path)
    tensors = TensorFiles(path)
    base_head_key = None
    is_absent = is_adapter and head_key is not None and not has_tensor(tensors, head_key)
    # An adapter's own head takes the place of the base's, so a name beside it is a mistake.
    if is_absent and find_head(tensors, config, head_key=None) is None:
        base_head_key, head_key = head_key, None
    head = find_head(tensors, config, head_key=head_key)
    return CheckpointFacts(
        path=path,
        format=_format(config, tensors, head, is_adapter=is_adapter),
        architecture=_architecture(config),
        num_labels=_num_labels(config, tensors, head),
        has_reward_weights=config.get("reward_weights") is not None,
        head_keys=tuple(name for name in tensors.names() if looks_like_head(name)),
        num_tensors=len(tensors),
        head_weight_key=head.weight if head else None,
        head_bias_key=head.bias if head else None,
        head_file=tensors.file_of(head.weight) if head else None,
        tensor_files=tensors.files,
        base_head_key=base_head_key,
        config=config,
    )


def _format(config: dict[str, Any], tensors: TensorFiles, head: HeadKeys | None, *, is_adapter: bool) -> str:
    has_value_head = head is not None and head.is_value_head
    if is_adapter:
        return "value-head-adapter" if has_value_head else "adapter"
    if has_value_head:
        in_one = any(name.startswith(PRETRAINED_PREFIX) for name in tensors.names())
        return "value-head-one-file" if in_one else "value-head"
    is_named_so = head is not None and head.weight == OLDER_OPENRLHF_HEAD
    if is_named_so or any(mark in config for mark in OPENRLHF_MARKS):
        return "openrlhf"
    if _architecture(config).endswith("ForTokenClassification"):
        return "token-classification"
    if head is not None or _architecture(config).endswith("ForSequenceClassification"):
        # With a head its tensors count more than the class's name, which some published configs have wrong
        # (reward-bench#210).
        return "sequence-classification"
    return "headless"


def _architecture(config: dict[str, Any]) -> str:
    return str((config.get("architectures") or [""])[0] or "")


def _num_labels(config: dict[str, Any], tensors: TensorFiles, head: HeadKeys | None) -> int:
    if head is not None:
        shape = tensors.shape(head.weight)
        return shape[0] if len(shape) == 2 else 1
    # transformers leaves its default of 2 out of config.json.
    return int(config.get("num_labels") or len(config.get("id2label") or {}) or 2)


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        raise PlauditError(
            f"no config.json, so this is no model folder (found: {found})",
            where=str(path),
            fix="Give the folder that save_pretrained wrote, or a model id of the hub.",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PlauditError(f"not JSON: {error}", where=str(file), fix="Copy the model again.") from error
    if not isinstance(config, dict):
        raise PlauditError("not a JSON object", where=str(file), fix="Copy the model again.")
    return config
