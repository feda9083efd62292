"""plaudit.json: what a reward model's folder has to say beyond the weights and the config."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from plaudit.errors import PlauditError
from plaudit.tokens.rule import RenderingRule
from plaudit.whole_file import write_whole

__all__ = ["RECORD_FILE", "ModelRecord", "installed_versions", "read_record", "replace_json"]

RECORD_FILE = "plaudit.json"
FORMAT = 1
PACKAGES = (
    *("plaudit", "torch", "transformers", "tokenizers"),
    *("accelerate", "datasets", "peft", "bitsandbytes"),
)


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide a reward."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRecord:
    """How a reward model came about, as far as its consumers have to know it."""

    rendering: RenderingRule
    """How conversations were rendered in training; scoring restores it."""
    transcripts: str = "text"
    """What texts of the form "\\n\\nHuman: ...\\n\\nAssistant:" were taken for: ``messages`` or ``text``."""
    max_length: int | None = None
    """Longest sequence it was trained on, in tokens."""
    base_model: str | None = None
    """What training started from."""
    data_fingerprint: str | None = None
    """SHA-256 of the training data."""
    reward_mean: float | None = None
    """Mean of the raw reward over the distinct sequences of the evaluation data, or of what it was calibrated on."""
    reward_std: float | None = None
    """Standard deviation of the same."""
    num_rewards: int = 0
    """How many rewards the two were computed from."""
    temperature: float | None = None
    """T for which sigmoid(margin / T) is the likeliest probability of the calibration data's comparisons."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """What ``plaudit calibrate`` measured, and on what; empty where it was not run."""
    averaged_from: list[dict[str, Any]] = field(default_factory=list)
    """``model`` and ``weight`` of each model whose weights were averaged into this one."""
    versions: dict[str, str] = field(default_factory=installed_versions)
    """Packages and versions that wrote it."""

    def write(self, folder: Path) -> None:
        """Write the record into a model folder; an interrupted write leaves the one that was there."""
        replace_json(folder / RECORD_FILE, {"format": FORMAT} | asdict(self))


def replace_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(path_or_id: str | Path, *, revision: str | None = None) -> ModelRecord | None:
    """The record of a model, local or of the hub; None where there is none (plaudit did not write the model).

    Raises:
        PlauditError: When the file is there but damaged, or of a newer format.
    """
    found = cached_file(
        str(path_or_id),
        RECORD_FILE,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if found is None:
        return None
    file = Path(found)
    try:
        content = json.loads(file.read_text("utf-8"))
        if content.pop("format") != FORMAT:
            raise PlauditError("written by a newer plaudit", where=str(file), fix="Upgrade plaudit.")
        rendering = RenderingRule.from_json(json.dumps(content.pop("rendering")))
        return ModelRecord(rendering=rendering, **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlauditError(f"damaged ({error})", where=str(file), fix="Copy the model again.") from error
