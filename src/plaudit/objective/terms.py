"""Loss terms before any division, and what an objective is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from plaudit.objective.judgements import Judgements, Prediction

__all__ = ["LossTerms", "Objective"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """Unreduced losses; the training step divides their weighted sum once, by the weight of the whole step.

    A mean taken per pass would weigh a comparison by the pass it happens to be in.
    """

    losses: Float[Tensor, " term"]
    """One loss per term."""
    weight: Float[Tensor, " term"]
    """How much each term counts; 0 for terms that say nothing (ties, in an objective without ties)."""

    def weighted_sum(self) -> Float[Tensor, ""]:
        """The sum of weight times loss; a term of weight 0 adds nothing, whatever its loss."""
        return (self.losses.masked_fill(self.weight == 0, 0.0) * self.weight).sum()


@runtime_checkable
class Objective(Protocol):
    """Rewards and judgements to loss terms; one small file each."""

    @property
    def needs(self) -> str:
        """What the data must hold for it, in words."""
        ...

    def weight(self, judgements: Judgements) -> Float[Tensor, " term"]:
        """How much each term counts: known from the data alone, so that a step's divisor is known before it runs."""
        ...

    def losses(self, prediction: Prediction, judgements: Judgements) -> Float[Tensor, " term"]:
        """One loss per term."""
        ...
