"""What a model folder is, read from its config and tensor names before any weight is loaded.

File names decide nothing: a folder is a reward model when its weights hold a head. Formats other than
transformers' sequence classification are recognised here and named, and a reader of theirs is one more entry in
`plaudit.model.loading.READERS`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from plaudit.errors import PlauditError

__all__ = ["CheckpointFacts", "inspect_checkpoint"]

HEAD_KEY = re.compile(r"(^|\.)(score|classifier|v_head|value_head|reward_head|regression_layer)\.")
"""Names under which reward models keep their head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFacts:
    """A model folder, recognised."""

    path: Path
    """The folder."""
    format: str
    """``sequence-classification``, ``headless`` (causal or bare), ``value-head``, ``adapter`` or ``openrlhf``."""
    architecture: str
    """The class named in the config, or an empty string."""
    num_labels: int
    """Outputs of the head by the config."""
    has_reward_weights: bool
    """Whether its outputs are attributes whose weights in the reward the config holds."""
    head_keys: tuple[str, ...]
    """Tensor names that look like a head's."""
    num_tensors: int
    """Tensors in the folder; 0 where they cannot be listed without unpickling."""
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    """What config.json says; empty where there is none (adapters of other tools)."""


def inspect_checkpoint(path: Path) -> CheckpointFacts:
    """Recognise a local model folder.

    Raises:
        PlauditError: When the folder has no readable config, or a weight file is damaged or missing.
    """
    names = _tensor_names(path)
    has_value_head = any("v_head." in name for name in names) or _has_value_head_file(path)
    if (path / "adapter_config.json").is_file():
        config = _read_config(path) if (path / "config.json").is_file() else {}
        return _facts(path, "value-head" if has_value_head else "adapter", config, names)
    config = _read_config(path)
    architecture = (config.get("architectures") or [""])[0] or ""
    if has_value_head:
        kind = "value-head"
    elif architecture.endswith("ForSequenceClassification"):
        kind = "sequence-classification"
    elif "value_head_prefix" in config or "normalize_reward" in config:
        kind = "openrlhf"
    else:
        kind = "headless"
    return _facts(path, kind, config, names)


def _facts(path: Path, kind: str, config: dict[str, Any], names: list[str]) -> CheckpointFacts:
    labels = config.get("id2label") or {}
    return CheckpointFacts(
        path=path,
        format=kind,
        architecture=(config.get("architectures") or [""])[0] or "",
        num_labels=int(config.get("num_labels") or len(labels) or 2),
        has_reward_weights=config.get("reward_weights") is not None,
        head_keys=tuple(name for name in names if HEAD_KEY.search(name)),
        num_tensors=len(names),
        config=config,
    )


def _has_value_head_file(path: Path) -> bool:
    return any((path / f"value_head.{suffix}").is_file() for suffix in ("safetensors", "bin"))


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


def _tensor_names(path: Path) -> list[str]:
    """Names of all tensors in the safetensors files, read from their headers."""
    names: list[str] = []
    for file in _weight_files(path):
        try:
            with safe_open(file, framework="numpy") as tensors:
                names.extend(tensors.keys())
        except (SafetensorError, OSError) as error:
            raise PlauditError(
                f"unreadable weights ({error})",
                where=str(file),
                fix="The file is damaged or was copied in part: copy it again.",
            ) from error
    return names


def _weight_files(path: Path) -> list[Path]:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return sorted(path.glob("*.safetensors"))
    shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    missing = [shard for shard in shards if not (path / shard).is_file()]
    if missing:
        raise PlauditError(
            f"{len(missing)} of {len(shards)} weight files are missing: {', '.join(missing[:5])}",
            where=str(index),
            fix="Copy or download the missing files.",
        )
    return [path / shard for shard in shards]
