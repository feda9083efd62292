"""Reward models: loading, preparing, saving; a plain transformers model that also reads trees."""

from plaudit.model.backend import ATTENTION_CHOICES, set_backend
from plaudit.model.loading import LoadedRewardModel, load_reward_model, prepare_reward_model
from plaudit.model.record import ModelRecord, read_record
from plaudit.model.reward_model import RewardModel, as_reward_model
from plaudit.model.saving import save_reward_model

__all__ = [
    "ATTENTION_CHOICES",
    "LoadedRewardModel",
    "ModelRecord",
    "RewardModel",
    "as_reward_model",
    "load_reward_model",
    "prepare_reward_model",
    "read_record",
    "save_reward_model",
    "set_backend",
]
