"""Several objectives added by weight: each is a mean over its own terms, so data of two kinds learn together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plaudit.objective.judgements import Judgements, Prediction
from plaudit.objective.terms import LossTerms, Objective

__all__ = ["Mixture"]


@dataclass(frozen=True, slots=True)
class Mixture:
    """The sum over its parts of factor times (weighted sum of losses / total weight of the step)."""

    names: tuple[str, ...]
    """Of the parts, for tables."""
    objectives: tuple[Objective, ...]
    """At least one."""
    factors: tuple[float, ...]
    """How much each counts."""

    @property
    def reads_ratings(self) -> bool:
        """Whether groups that have ratings and no comparisons say anything."""
        return any("ratings" in objective.needs for objective in self.objectives)

    def total_weights(self, judgements: Judgements) -> Float[Tensor, " objective"]:
        """The weight of all terms of each part, float64: added up over a step, the divisor of `loss`."""
        weights = [objective.weight(judgements).double().sum() for objective in self.objectives]
        return torch.stack(weights)

    def sums(self, prediction: Prediction, judgements: Judgements) -> Float[Tensor, " objective"]:
        """The weighted sum of losses of each part, before any division."""
        terms = [
            LossTerms(losses=part.losses(prediction, judgements), weight=part.weight(judgements))
            for part in self.objectives
        ]
        return torch.stack([part.weighted_sum() for part in terms])

    def means(
        self, sums: Float[Tensor, " objective"], total_weights: Float[Tensor, " objective"]
    ) -> Float[Tensor, " objective"]:
        """Sums divided by weights; 0 where a step has no term of a part."""
        return sums / total_weights.to(sums).where(total_weights > 0, 1.0)

    def loss(
        self, sums: Float[Tensor, " objective"], total_weights: Float[Tensor, " objective"]
    ) -> Float[Tensor, ""]:
        """The loss of a step, or of a part of it when the weights are the whole step's."""
        return self.means(sums, total_weights) @ torch.tensor(
            self.factors, dtype=sums.dtype, device=sums.device
        )
