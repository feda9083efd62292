"""What objectives on comparisons share: the difference of rewards, and how much each comparison counts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plaudit.objective.judgements import Judgements, Prediction

__all__ = ["comparison_weight", "reward_difference"]


def reward_difference(prediction: Prediction, judgements: Judgements) -> Float[Tensor, " comparison"]:
    """reward(better) - reward(worse) - margin.

    A margin asks for a distance before the loss falls below log 2 (Llama 2, arXiv:2307.09288, Eq. 2).
    """
    better, worse = prediction.rewards[judgements.better], prediction.rewards[judgements.worse]
    return better - worse - judgements.margin


def comparison_weight(
    judgements: Judgements, *, with_ties: bool, average_per_prompt: bool
) -> Float[Tensor, " comparison"]:
    """The data's weights; 0 for ties where the objective knows none.

    Args:
        judgements: The comparisons.
        with_ties: Whether the objective learns from ties.
        average_per_prompt: Divide by the sum over the comparison's group, so that each prompt counts once
            (InstructGPT, arXiv:2203.02155, Eq. 1: the mean over the K choose 2 comparisons of a prompt).
    """
    weight = judgements.weight if with_ties else judgements.weight * ~judgements.is_tie
    if not average_per_prompt or not len(weight):
        return weight
    group = judgements.group[judgements.better]
    totals = torch.zeros(len(judgements.group), dtype=weight.dtype, device=weight.device)
    total = totals.index_add(0, group, weight)[group]
    return weight / total.where(total > 0, 1.0)
