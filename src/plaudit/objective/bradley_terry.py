"""The Bradley-Terry objective: the better completion wins with probability sigmoid(difference of rewards)."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from plaudit.objective.comparisons import comparison_weight, reward_difference
from plaudit.objective.judgements import Judgements, Prediction

__all__ = ["BradleyTerry"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BradleyTerry:
    """-(1 - s) log sigmoid(d) - s log sigmoid(-d), with d = reward(better) - reward(worse) - margin.

    A tie has no better completion: its weight is 0. (Rao-Kupper and Davidson learn from ties.)

    Source: Bradley and Terry 1952; InstructGPT, arXiv:2203.02155, Eq. 1; margins: Llama 2, arXiv:2307.09288, Eq. 2;
    label smoothing s for labels that are wrong with probability s: arXiv:2305.18290v3, footnote on conservative DPO.

    >>> import torch
    >>> judgements = Judgements.of_comparisons([0], [1], margin=[1.0])
    >>> rewards = torch.tensor([2.0, 1.0])
    >>> losses = BradleyTerry().losses(Prediction(rewards=rewards, outputs=rewards[:, None]), judgements)
    >>> round(losses.item(), 4)  # log 2
    0.6931
    """

    label_smoothing: float = 0.0
    """s: the share of comparisons assumed to be the wrong way round, in [0, 0.5)."""
    average_per_prompt: bool = False
    """Whether each prompt counts once, however many comparisons it has."""

    needs = "comparisons"

    def weight(self, judgements: Judgements) -> Float[Tensor, " comparison"]:
        """The data's weight; 0 for ties."""
        return comparison_weight(judgements, with_ties=False, average_per_prompt=self.average_per_prompt)

    def losses(self, prediction: Prediction, judgements: Judgements) -> Float[Tensor, " comparison"]:
        """One loss per comparison."""
        difference = reward_difference(prediction, judgements)
        losses = -logsigmoid(difference)
        if self.label_smoothing == 0:
            return losses
        return (1 - self.label_smoothing) * losses - self.label_smoothing * logsigmoid(-difference)
