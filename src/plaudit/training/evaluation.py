"""Evaluation in training: every group scored once, whatever the batch size and the number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import nn

from plaudit.model.inference import rewards_of_sequences
from plaudit.model.reward_model import RewardModel
from plaudit.objective.metrics import PairSums
from plaudit.tokens import TokenGroup, TokenTable
from plaudit.training.lockstep import Lockstep

__all__ = ["GroupRewards", "rewards_of_groups"]

GROUPS_PER_ROUND = 2_048
"""Groups whose ids are in memory at a time (assumed: some MB of ids, and enough to sort by beginning)."""


@dataclass(frozen=True, slots=True)
class GroupRewards:
    """Groups and the rewards of their sequences."""

    groups: TokenTable
    """The groups that were scored."""
    rewards: Sequence[Float[np.ndarray, " _sequence"]]
    """For each group one raw reward per sequence, float32."""
    outputs: Sequence[Float[np.ndarray, "_sequence output"]]
    """For each group what the head gave: the rewards themselves, or one column per attribute."""

    @property
    def num_groups(self) -> int:
        """Groups scored."""
        return len(self.rewards)

    @property
    def num_sequences(self) -> int:
        """Sequences scored."""
        return sum(map(len, self.rewards))

    def sums(self) -> PairSums:
        """Sums and counts over all comparisons."""
        return sum((_sums_of(group, row) for group, row in self.rows()), PairSums())

    def pairs(self) -> Float[np.ndarray, "comparison 2"]:
        """Rewards of the better and of the worse completion of every comparison, in order."""
        parts = [np.stack([row[group.better], row[group.worse]], axis=1) for group, row in self.rows()]
        return np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.float32)

    def mean(self) -> float:
        """Mean reward over the sequences; NaN when there is none."""
        return float(np.concatenate(self.rewards).astype(np.float64).mean()) if self.rewards else math.nan

    def std(self) -> float:
        """Standard deviation of the reward over the sequences; NaN when there is none."""
        return float(np.concatenate(self.rewards).astype(np.float64).std()) if self.rewards else math.nan

    def rows(self) -> Iterator[tuple[TokenGroup, np.ndarray]]:
        """Each group with its rewards."""
        return ((self.groups[index], row) for index, row in enumerate(self.rewards))


def rewards_of_groups(
    call: nn.Module,
    model: RewardModel,
    groups: TokenTable,
    accelerator: Accelerator,
    *,
    max_tokens: int | None,
    lockstep: Lockstep | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> GroupRewards:
    """Score all groups, each on one process, and gather the rewards on every process.

    Args:
        call: The model as the training engine wrapped it.
        model: The same, unwrapped.
        groups: What to score.
        accelerator: Knows the processes and the precision.
        max_tokens: Computed tokens in one pass; None takes the device's default.
        lockstep: Where every forward pass needs every process.
        on_progress: Called with (sequences scored on this process, sequences to score on it).
    """
    mine = range(accelerator.process_index, len(groups), accelerator.num_processes)
    in_step = call if lockstep is None else lockstep.in_step(call)
    autocast_dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    scored: list[tuple[int, tuple[np.ndarray, np.ndarray]]] = []
    num_done = 0
    num_total = 0
    for first in range(0, len(mine), GROUPS_PER_ROUND):
        indices = mine[first : first + GROUPS_PER_ROUND]
        batch = [groups[index].sequences for index in indices]
        num_total = num_total or round(sum(map(len, batch)) / len(batch) * len(mine))

        def advance(num: int, total: int = num_total) -> None:
            nonlocal num_done
            num_done += num
            if on_progress is not None:
                on_progress(min(num_done, total), total)

        result = rewards_of_sequences(
            model,
            [ids for sequences in batch for ids in sequences],
            max_tokens=max_tokens,
            autocast_dtype=autocast_dtype,
            call=in_step,
            can_halve=lockstep is None,
            on_progress=advance,
        )
        edges = np.cumsum([len(sequences) for sequences in batch])[:-1]
        by_group = zip(np.split(result.rewards, edges), np.split(result.outputs, edges), strict=True)
        scored.extend(zip(indices, by_group, strict=True))
    if lockstep is not None:
        lockstep.finish(call, model, autocast_dtype=autocast_dtype, can_halve=False)
    gathered = dict(gather_object(scored)) if accelerator.num_processes > 1 else dict(scored)
    in_order = [gathered[index] for index in range(len(groups))]
    return GroupRewards(groups, [rewards for rewards, _ in in_order], [outputs for _, outputs in in_order])


def _sums_of(group: TokenGroup, rewards: Float[np.ndarray, " sequence"]) -> PairSums:
    return PairSums.from_rewards(
        rewards[group.better].astype(np.float64),
        rewards[group.worse].astype(np.float64),
        margin=group.margin.astype(np.float64),
        weight=group.weight.astype(np.float64),
        is_tie=group.is_tie.astype(np.bool_),
    )
