"""The Davidson objective: a tie is a third outcome, likeliest between equals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plaudit.objective.comparisons import comparison_weight, reward_difference
from plaudit.objective.judgements import Judgements, Prediction

__all__ = ["Davidson"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Davidson:
    """Win, loss and tie are as likely as e^(d/2), e^(-d/2) and v.

    Two equal rewards tie with probability v / (2 + v), so v = 2 tie_probability / (1 - tie_probability).

    Source: Davidson 1970, Journal of the American Statistical Association 65, 317-328, Eq. 2.3.
    """

    tie_probability: float = 1 / 3
    """Chance of a tie between equal rewards, in (0, 1)."""
    average_per_prompt: bool = False
    """Whether each prompt counts once, however many comparisons it has."""

    needs = "comparisons"

    def weight(self, judgements: Judgements) -> Float[Tensor, " comparison"]:
        """The data's weight."""
        return comparison_weight(judgements, with_ties=True, average_per_prompt=self.average_per_prompt)

    def losses(self, prediction: Prediction, judgements: Judgements) -> Float[Tensor, " comparison"]:
        """-log P of what the data say."""
        half = reward_difference(prediction, judgements) / 2
        tie = torch.full_like(half, math.log(2 * self.tie_probability / (1 - self.tie_probability)))
        total = torch.stack([half, -half, tie]).logsumexp(0)
        return total - tie.where(judgements.is_tie, half)
