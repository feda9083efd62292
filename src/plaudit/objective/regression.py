"""Regression on ratings: the reward is the rating itself."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from plaudit.objective.judgements import Judgements, Prediction

__all__ = ["Regression"]


@dataclass(frozen=True, slots=True)
class Regression:
    """(reward - rating)^2, in the rating's own unit squared; a sequence without a rating counts 0.

    Source: mean squared error as in SteerLM's and HelpSteer's reward models, arXiv:2310.05344, section 3.1.
    """

    needs = "ratings"

    def weight(self, judgements: Judgements) -> Float[Tensor, " sequence"]:
        """1 for each rated sequence."""
        return (~judgements.rating.isnan()).float()

    def losses(self, prediction: Prediction, judgements: Judgements) -> Float[Tensor, " sequence"]:
        """One loss per sequence."""
        return (prediction.rewards - judgements.rating.nan_to_num()).square()
