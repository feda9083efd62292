"""What training and evaluation say about pairs of rewards, as sums that add up over any split of the data.

Guarantees: the numbers do not depend on how the comparisons were cut into batches or spread over processes,
because nothing is divided before `PairSums.as_dict`. (A mean of batch means is wrong as soon as the last
batch is short: nine pairs at batch size 8, the ninth alone right, have accuracy 0.111, and the mean of the
two batch means is 0.5.)
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["PairSums", "negative_log_sigmoid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSums:
    """Sums and counts over comparisons; ``+`` merges two sets of them.

    A *data tie* is a comparison whose two completions were judged equally good. It has no better one, so it
    enters ``num_comparisons`` and ``num_data_ties`` and nothing else. All other counts and sums run over the
    *decided* comparisons.

    A reward that is not a number counts as not correct and makes the loss and the mean rewards NaN: a run
    that has diverged shows it.

    >>> first = PairSums.from_rewards(np.array([2.0, 0.0]), np.array([1.0, 3.0]))
    >>> rest = PairSums.from_rewards(np.array([1.0]), np.array([0.5]))
    >>> (first + rest).as_dict("rm/")["rm/accuracy"]
    0.6666666666666666
    """

    num_comparisons: int = 0
    """All comparisons, data ties included."""
    num_data_ties: int = 0
    """Comparisons that the data call a tie."""
    num_correct: int = 0
    """Decided comparisons with reward(better) > reward(worse), strictly."""
    num_reward_ties: int = 0
    """Decided comparisons with reward(better) == reward(worse)."""
    sum_loss: float = 0.0
    """Sum of weight * -log sigmoid(reward(better) - reward(worse) - margin), natural logarithm."""
    sum_weight: float = 0.0
    """Sum of the weights: the divisor of ``sum_loss``."""
    sum_better_reward: float = 0.0
    """Sum of reward(better), unweighted."""
    sum_worse_reward: float = 0.0
    """Sum of reward(worse), unweighted."""

    @classmethod
    def from_rewards(
        cls,
        better: Float[np.ndarray, " comparison"],
        worse: Float[np.ndarray, " comparison"],
        *,
        margin: Float[np.ndarray, " comparison"] | None = None,
        weight: Float[np.ndarray, " comparison"] | None = None,
        is_tie: Bool[np.ndarray, " comparison"] | None = None,
    ) -> PairSums:
        """The sums of some comparisons, computed in float64.

        Args:
            better: Reward of the preferred completion.
            worse: Reward of the other one.
            margin: How far apart the data want the two, in units of reward; zeros when absent.
            weight: How much each comparison counts in the loss; ones when absent.
            is_tie: Which comparisons are data ties; none when absent.
        """
        decided = np.ones(len(better), dtype=bool) if is_tie is None else ~is_tie
        b, w = better[decided].astype(np.float64), worse[decided].astype(np.float64)
        required = np.zeros_like(b) if margin is None else margin[decided].astype(np.float64)
        weights = np.ones_like(b) if weight is None else weight[decided].astype(np.float64)
        with np.errstate(invalid="ignore"):  # inf - inf is the NaN that the docstring promises
            losses = negative_log_sigmoid(b - w - required)
        return cls(
            num_comparisons=len(better),
            num_data_ties=len(better) - len(b),
            num_correct=int(np.count_nonzero(b > w)),
            num_reward_ties=int(np.count_nonzero(b == w)),
            sum_loss=float(np.sum(weights * losses)),
            sum_weight=float(np.sum(weights)),
            sum_better_reward=float(np.sum(b)),
            sum_worse_reward=float(np.sum(w)),
        )

    @classmethod
    def from_vector(cls, vector: Float[np.ndarray, " field"]) -> PairSums:
        """The inverse of `to_vector`."""
        values = zip(fields(cls), vector.tolist(), strict=True)
        return cls(**{f.name: int(v) if f.name.startswith("num_") else v for f, v in values})

    @property
    def num_decided(self) -> int:
        """Comparisons that are not data ties: the n of the accuracy."""
        return self.num_comparisons - self.num_data_ties

    def __add__(self, other: PairSums) -> PairSums:
        return PairSums(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def to_vector(self) -> Float[np.ndarray, " field"]:
        """All fields in order as float64, to be summed over processes. Counts are exact below 2**53."""
        return np.array([getattr(self, f.name) for f in fields(self)], dtype=np.float64)

    def as_dict(self, prefix: str = "") -> dict[str, float]:
        """The averages, each under ``prefix`` + its name; NaN where nothing was decided.

        ``accuracy``: ``num_correct / num_decided``, unweighted. ``loss``: ``sum_loss / sum_weight``.
        ``chosen_rewards``, ``rejected_rewards``: mean reward of the better and of the worse completions, one
        term per comparison. ``reward_margin``: their difference.
        """
        chosen = _ratio(self.sum_better_reward, self.num_decided)
        rejected = _ratio(self.sum_worse_reward, self.num_decided)
        return {
            f"{prefix}accuracy": _ratio(self.num_correct, self.num_decided),
            f"{prefix}loss": _ratio(self.sum_loss, self.sum_weight),
            f"{prefix}chosen_rewards": chosen,
            f"{prefix}rejected_rewards": rejected,
            f"{prefix}reward_margin": chosen - rejected,
        }


def negative_log_sigmoid(logit: Float[np.ndarray, " comparison"]) -> Float[np.ndarray, " comparison"]:
    """-log sigmoid(x) = log(1 + exp(-x)), without overflow for any finite x."""
    return np.maximum(-logit, 0.0) + np.log1p(np.exp(-np.abs(logit)))


def _ratio(total: int | float, count: int | float) -> float:
    return total / count if count else float("nan")
