"""The Bradley-Terry objective: the better completion wins with probability sigmoid(difference of rewards)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plaudit.objective.terms import LossTerms

__all__ = ["bradley_terry"]


def bradley_terry(
    rewards: Float[Tensor, " sequence"],
    *,
    better: Int[Tensor, " comparison"],
    worse: Int[Tensor, " comparison"],
    margin: Float[Tensor, " comparison"],
    weight: Float[Tensor, " comparison"],
    is_tie: Bool[Tensor, " comparison"],
) -> LossTerms:
    """-log sigmoid(reward(better) - reward(worse) - margin), per comparison, in float32.

    A tie has no better completion: its weight becomes 0. (Objectives that learn from ties are others.)

    Args:
        rewards: Raw rewards of all sequences.
        better, worse: Indices into them.
        margin: How far apart the two have to be before the loss falls below log 2, in units of reward.
        weight: How much each comparison counts.
        is_tie: Which comparisons are ties.

    Source: Bradley and Terry 1952; InstructGPT, arXiv:2203.02155, Eq. 1; margins: Llama 2, arXiv:2307.09288, Eq. 2.

    >>> terms = bradley_terry(
    ...     torch.tensor([2.0, 1.0]), better=torch.tensor([0]), worse=torch.tensor([1]),
    ...     margin=torch.tensor([1.0]), weight=torch.tensor([1.0]), is_tie=torch.tensor([False]),
    ... )
    >>> round(terms.losses.item(), 4)  # log 2
    0.6931
    """
    difference = rewards[better].float() - rewards[worse].float() - margin.float()
    losses = -torch.nn.functional.logsigmoid(difference)
    return LossTerms(losses=losses, weight=weight.float() * ~is_tie)
