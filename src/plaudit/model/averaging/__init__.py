"""One reward model from several, by the mean of their weights."""

from plaudit.model.averaging.averaging import average_reward_models
from plaudit.model.averaging.report import AveragingReport

__all__ = ["AveragingReport", "average_reward_models"]
