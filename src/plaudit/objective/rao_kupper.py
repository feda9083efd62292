"""The Rao-Kupper objective: a tie is what happens when the difference stays below a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from plaudit.objective.comparisons import comparison_weight, reward_difference
from plaudit.objective.judgements import Judgements, Prediction

__all__ = ["RaoKupper"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RaoKupper:
    """P(win) = sigmoid(d - h), P(loss) = sigmoid(-d - h), P(tie) = (e^2h - 1) P(win) P(loss).

    h = log theta is the threshold in units of reward. Two equal rewards tie with probability tanh(h / 2), so
    h = 2 artanh(tie_probability).

    Source: Rao and Kupper 1967, Journal of the American Statistical Association 62, 194-204, Eq. 2.4 to 2.6.
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
        threshold = 2 * math.atanh(self.tie_probability)
        difference = reward_difference(prediction, judgements)
        log_win, log_loss = logsigmoid(difference - threshold), logsigmoid(-difference - threshold)
        log_tie = math.log(math.expm1(2 * threshold)) + log_win + log_loss
        return -log_tie.where(judgements.is_tie, log_win)
