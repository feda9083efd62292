"""Normalised rewards: the raw reward moved and scaled by what a reference set says of the model.

A reward is defined up to a shift and, between models, up to a scale: comparisons fix neither. The raw reward is what
every path returns unless asked otherwise; what is computed here is called ``normalized``, never ``reward``. The
numbers it needs are in ``plaudit.json`` (``plaudit calibrate`` puts them there, training on evaluation data the mean
and standard deviation), or in the config of a folder that OpenRLHF wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from plaudit.errors import PlauditError, unknown_choice
from plaudit.model.checkpoint import OPENRLHF_MARKS
from plaudit.model.record import ModelRecord, replace_json

__all__ = [
    "NORMALIZATIONS",
    "RewardNormalization",
    "check_normalization",
    "find_normalization",
    "is_openrlhf",
    "normalization_fields",
    "normalize_group",
    "normalize_rewards",
    "write_calibrated_record",
]

NORMALIZATIONS = ("none", "affine", "sigmoid")
"""What each reward can be normalised by on its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardNormalization:
    """What a reference set says of a model's raw rewards."""

    mean: float
    """Their mean."""
    std: float
    """Their standard deviation (divisor n), above 0."""
    temperature: float | None = None
    """T of sigmoid(margin / T); None where the model was not calibrated."""

    def affine(self, rewards: Float[np.ndarray, " sequence"]) -> Float[np.ndarray, " sequence"]:
        """(r - mean) / std: mean 0 and standard deviation 1 over the reference set. What OpenRLHF computes.

        >>> RewardNormalization(mean=1.0, std=2.0).affine(np.array([1.0, 5.0])).tolist()
        [0.0, 2.0]
        """
        return ((rewards.astype(np.float64) - self.mean) / self.std).astype(np.float32)

    def sigmoid(self, rewards: Float[np.ndarray, " sequence"]) -> Float[np.ndarray, " sequence"]:
        """sigmoid((r - mean) / T): how probable it is that the answer is preferred to one of mean reward.

        The difference of two answers' logits is margin / T, so by it the calibrated probability that the first is
        preferred to the second can be had back: sigmoid(logit(a) - logit(b)).

        Raises:
            PlauditError: There is no temperature.

        >>> RewardNormalization(mean=1.0, std=2.0, temperature=0.5).sigmoid(np.array([1.0, 2.0])).round(3).tolist()
        [0.5, 0.8809999823570251]
        """
        if self.temperature is None:
            raise _not_calibrated("temperature", "sigmoid", "")
        logit = (rewards.astype(np.float64) - self.mean) / self.temperature
        return np.exp(-np.logaddexp(0.0, -logit)).astype(np.float32)


def normalize_rewards(
    rewards: Float[np.ndarray, " sequence"],
    how: str,
    normalization: RewardNormalization | None,
    *,
    model: str = "",
) -> Float[np.ndarray, " sequence"]:
    """Normalised rewards, float32; by ``none`` the raw ones.

    Args:
        rewards: Raw rewards.
        how: One of `NORMALIZATIONS`.
        normalization: What is known of the model; None where nothing is.
        model: What to call the model in an error.

    Raises:
        PlauditError: An unknown choice, or the model's folder does not hold what it needs.
    """
    check_normalization(how, normalization, model=model)
    if how == "none" or normalization is None:
        return rewards
    return normalization.affine(rewards) if how == "affine" else normalization.sigmoid(rewards)


def check_normalization(how: str, normalization: RewardNormalization | None, *, model: str) -> None:
    """The errors of `normalize_rewards`, before anything is scored."""
    if how not in NORMALIZATIONS:
        raise unknown_choice("--normalize", how, NORMALIZATIONS)
    if how != "none" and normalization is None:
        raise _not_calibrated("mean and standard deviation of its rewards", how, model)
    if how == "sigmoid" and normalization is not None and normalization.temperature is None:
        raise _not_calibrated("temperature", how, model)


def normalize_group(rewards: Float[np.ndarray, " completion"]) -> Float[np.ndarray, " completion"]:
    """Z-scores among the completions of one prompt (divisor n); zeros where all rewards are equal.

    >>> normalize_group(np.array([1.0, 3.0])).tolist(), normalize_group(np.array([2.0, 2.0])).tolist()
    ([-1.0, 1.0], [0.0, 0.0])
    """
    centred = rewards.astype(np.float64) - rewards.mean(dtype=np.float64) if len(rewards) else rewards
    spread = float(np.sqrt(np.mean(centred**2))) if len(rewards) else 0.0
    # Of equal rewards the mean can differ from them by rounding, and that would be blown up to 1.
    if spread <= 1e-7 * float(np.abs(rewards).max(initial=0.0)):
        return np.zeros(len(rewards), dtype=np.float32)
    return (centred / spread).astype(np.float32)


def find_normalization(
    record: ModelRecord | None, config: Mapping[str, Any] | None
) -> RewardNormalization | None:
    """What a model's folder says: its ``plaudit.json`` first, then OpenRLHF's fields of its config.

    Args:
        record: What ``plaudit.json`` says, where there is one.
        config: What ``config.json`` says.
    """
    if record is not None and record.reward_mean is not None and record.reward_std:
        return RewardNormalization(
            mean=record.reward_mean, std=record.reward_std, temperature=record.temperature
        )
    config = config or {}
    mean, std = config.get("mean"), config.get("std")
    if is_openrlhf(config) and isinstance(mean, int | float) and isinstance(std, int | float) and std > 0:
        return RewardNormalization(mean=float(mean), std=float(std))
    return None


def normalization_fields(record: ModelRecord | None, *, normalize_reward: bool = False) -> dict[str, Any]:
    """The fields ``mean``, ``std`` and ``normalize_reward`` of an OpenRLHF config.

    OpenRLHF reads ``mean`` and ``std`` whenever they are there and uses them when it runs with normalised rewards;
    0 and 1 are its own defaults, which change nothing.

    Source: ``openrlhf/models/model.py``, ``_get_reward_model``.

    >>> normalization_fields(None)
    {'mean': 0.0, 'std': 1.0, 'normalize_reward': False}
    """
    found = find_normalization(record, None) or RewardNormalization(mean=0.0, std=1.0)
    return {"mean": found.mean, "std": found.std, "normalize_reward": normalize_reward}


def write_calibrated_record(folder: Path, record: ModelRecord) -> None:
    """Write the record into a model folder, and its mean and std into the config of one of OpenRLHF's.

    ``normalize_reward`` stays as the config has it. Each file is replaced whole.
    """
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if is_openrlhf(config):
        fields = normalization_fields(record, normalize_reward=bool(config.get("normalize_reward", False)))
        replace_json(file, config | fields)
    record.write(folder)


def is_openrlhf(config: Mapping[str, Any]) -> bool:
    """Whether a config is one of OpenRLHF's reward models."""
    return any(mark in config for mark in OPENRLHF_MARKS)


def _not_calibrated(what: str, how: str, model: str) -> PlauditError:
    return PlauditError(
        f"its folder holds no {what}, which {how} normalisation needs",
        where=model or None,
        fix=f"Measure it once: plaudit calibrate {model or 'MODEL'} --data COMPARISONS.",
    )
