"""Reward centering: an added term that keeps rewards near zero, which comparisons alone leave open."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from plaudit.objective.comparisons import comparison_weight
from plaudit.objective.judgements import Judgements, Prediction

__all__ = ["Centering"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Centering:
    """(reward(better) + reward(worse))^2; added with a small weight, 0.01 in the paper.

    Source: Eisenstein et al., arXiv:2312.09244, Eq. 2.
    """

    average_per_prompt: bool = False
    """Whether each prompt counts once, however many comparisons it has."""

    needs = "comparisons"

    def weight(self, judgements: Judgements) -> Float[Tensor, " comparison"]:
        """The data's weight; ties count, as the term does not ask which is better."""
        return comparison_weight(judgements, with_ties=True, average_per_prompt=self.average_per_prompt)

    def losses(self, prediction: Prediction, judgements: Judgements) -> Float[Tensor, " comparison"]:
        """One loss per comparison."""
        return (prediction.rewards[judgements.better] + prediction.rewards[judgements.worse]).square()
