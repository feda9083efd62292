"""Loss terms before any division: what every objective returns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

__all__ = ["LossTerms"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """Unreduced losses; the training step divides their weighted sum once, by the weight of the whole step.

    A mean taken per pass would weigh a comparison by the pass it happens to be in.
    """

    losses: Float[Tensor, " term"]
    """One loss per term, float32."""
    weight: Float[Tensor, " term"]
    """How much each term counts; 0 for terms that say nothing (ties, in an objective without ties)."""

    def weighted_sum(self) -> Float[Tensor, ""]:
        """The sum of weight times loss."""
        return (self.losses * self.weight).sum()
