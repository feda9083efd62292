"""plaudit: reward models, whole. From preference data to a reward that is the same for everyone who asks."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plaudit.errors import PlauditError
    from plaudit.evaluation import evaluate
    from plaudit.model import load_reward_model, save_reward_model
    from plaudit.preferences import PreferenceGroup, read_preferences
    from plaudit.scoring import Scorer
    from plaudit.training import RewardConfig, RewardTrainer

__all__ = [
    "PlauditError",
    "PreferenceGroup",
    "RewardConfig",
    "RewardTrainer",
    "Scorer",
    "evaluate",
    "load_reward_model",
    "read_preferences",
    "save_reward_model",
]

__version__ = version("plaudit")

_HOME = {
    "PlauditError": "errors",
    "PreferenceGroup": "preferences",
    "RewardConfig": "training",
    "RewardTrainer": "training",
    "Scorer": "scoring",
    "evaluate": "evaluation",
    "load_reward_model": "model",
    "read_preferences": "preferences",
    "save_reward_model": "model",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: ``import plaudit`` alone costs no torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'plaudit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"plaudit.{_HOME[name]}"), name)
