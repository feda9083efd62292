"""Training: RewardConfig and RewardTrainer, on transformers.Trainer."""

from plaudit.training.config import RewardConfig
from plaudit.training.trainer import RewardTrainer

__all__ = ["RewardConfig", "RewardTrainer"]
