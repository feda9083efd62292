"""Reward models: loading, preparing, saving; a plain transformers model that also reads trees."""

from plaudit.model.adapter import add_adapter, reward_model_of
from plaudit.model.backend import ATTENTION_CHOICES, set_backend
from plaudit.model.loading import LoadedRewardModel, load_reward_model, prepare_reward_model
from plaudit.model.merging import merge_adapter
from plaudit.model.quantization import quantization_config
from plaudit.model.record import ModelRecord, read_record
from plaudit.model.reward_model import RewardModel, as_reward_model
from plaudit.model.saving import save_reward_model

__all__ = [
    "ATTENTION_CHOICES",
    "LoadedRewardModel",
    "ModelRecord",
    "RewardModel",
    "add_adapter",
    "as_reward_model",
    "load_reward_model",
    "merge_adapter",
    "prepare_reward_model",
    "quantization_config",
    "read_record",
    "reward_model_of",
    "save_reward_model",
    "set_backend",
]
