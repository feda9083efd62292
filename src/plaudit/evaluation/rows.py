"""One row per comparison: the numbers from which every statistic of an evaluation is computed.

Guarantees: rows come in the order of the data, one for each comparison that was scored; all that statistics
need is here, so none of them needs a second run of the model. Numbers only, 90 bytes a comparison: texts stay
in the preference table and are joined when the rows are stored (`plaudit.evaluation.storage`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["ComparisonRows"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonRows:
    """Rewards, judgements and lengths of comparisons; ``sequence_`` arrays have one entry per sequence."""

    group: np.ndarray
    """int64 [comparison]: row of the preference table."""
    prompt: np.ndarray
    """int64 [comparison]: number of the prompt. Comparisons of one prompt, in one group or in several, depend
    on each other, and intervals resample them together."""
    comparison: np.ndarray
    """int32 [comparison]: index among the comparisons of its group."""
    completion_better: np.ndarray
    """int32 [comparison]: index of the preferred completion in its group."""
    completion_worse: np.ndarray
    """int32 [comparison]: index of the other one."""
    better: np.ndarray
    """int64 [comparison]: index of the preferred completion's sequence in the ``sequence_`` arrays."""
    worse: np.ndarray
    """int64 [comparison]: the same for the other one."""
    subset: np.ndarray
    """int32 [comparison]: index in ``subset_names``, -1 where the data name no subset."""
    required_margin: np.ndarray
    """float32 [comparison]: how far apart the data want the rewards, in units of reward."""
    weight: np.ndarray
    """float32 [comparison]: how much it counts in the training loss; statistics here count each once."""
    is_tie: np.ndarray
    """bool [comparison]: judged equally good by the data."""
    num_characters_better: np.ndarray
    """int64 [comparison]: length of the preferred completion's text, in characters."""
    num_characters_worse: np.ndarray
    """int64 [comparison]: length of the other one's."""
    num_tokens_better: np.ndarray
    """int64 [comparison]: length of the preferred completion as the model reads it, prompt excluded."""
    num_tokens_worse: np.ndarray
    """int64 [comparison]: length of the other one."""
    sequence_reward: np.ndarray
    """float64 [sequence]: reward of each distinct token sequence; NaN while it is not scored."""
    sequence_num_tokens: np.ndarray
    """int64 [sequence]: completion tokens of each distinct sequence."""
    subset_names: tuple[str, ...] = ()
    """Names of the subsets, in order of appearance."""

    def __len__(self) -> int:
        return len(self.group)

    @property
    def reward_better(self) -> Float[np.ndarray, " comparison"]:
        """Reward of the preferred completion, float64."""
        return self.sequence_reward[self.better]

    @property
    def reward_worse(self) -> Float[np.ndarray, " comparison"]:
        """Reward of the other one, float64."""
        return self.sequence_reward[self.worse]

    @property
    def margin(self) -> Float[np.ndarray, " comparison"]:
        """reward(better) - reward(worse), float64."""
        return self.reward_better - self.reward_worse

    @property
    def is_decided(self) -> Bool[np.ndarray, " comparison"]:
        """Comparisons that are not data ties: the ones that have a better completion."""
        return ~self.is_tie

    @property
    def is_reward_tie(self) -> Bool[np.ndarray, " comparison"]:
        """Comparisons whose two rewards are equal."""
        return self.reward_better == self.reward_worse

    def with_rewards(self, rewards: Float[np.ndarray, " sequence"]) -> ComparisonRows:
        """The same comparisons with these rewards of their sequences."""
        return replace(self, sequence_reward=rewards.astype(np.float64))

    def select(self, keep: Bool[np.ndarray, " comparison"] | Int[np.ndarray, " kept"]) -> ComparisonRows:
        """Some of the comparisons, by mask or by index; the sequences stay as they are."""
        per_comparison = {
            f.name: getattr(self, f.name)[keep]
            for f in fields(self)
            if f.name != "subset_names" and not f.name.startswith("sequence_")
        }
        return ComparisonRows(
            **per_comparison,
            sequence_reward=self.sequence_reward,
            sequence_num_tokens=self.sequence_num_tokens,
            subset_names=self.subset_names,
        )
