"""The same number of passes on every process, for engines whose passes need all of them.

Where weights are divided, a forward pass gathers them from all processes; where gradients are, a backward pass
reduces them. A process that makes one pass fewer leaves the others waiting. So those with fewer passes make empty
ones: a stand-in that teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import distributed

from plaudit.model.inference import rewards_of_sequences
from plaudit.model.reward_model import RewardModel
from plaudit.training.batch import PreferenceBatch, build_pass
from plaudit.training.data import stand_in_group

__all__ = ["Lockstep", "with_as_many_passes"]


class Lockstep:
    """Processes that tell each other how many passes they have.

    They talk over a group of their own on the hosts, so that no device has to be waited for. It is made at its first
    use, which is the same on all of them: hosts that gloo cannot connect are in the way only where it is needed.
    """

    def __init__(self) -> None:
        self._group: Any = None

    def most(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each number over all processes; every process has to ask, with as many numbers."""
        self._group = self._group or distributed.new_group(backend="gloo")
        shared = torch.tensor(numbers, dtype=torch.int64)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX, group=self._group)
        return shared.tolist()

    def in_step(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A model's call that says first that there is one more; `finish` answers on those that are done."""

        def announced(**inputs: Any) -> Any:
            self.most([1])
            return call(**inputs)

        return announced

    def finish(self, call: Callable[..., Any], model: RewardModel, **settings: Any) -> None:
        """Make empty passes until every process is done.

        Args:
            call: The model as the engine wrapped it.
            model: The same, unwrapped.
            settings: Further arguments of `rewards_of_sequences`, as in the passes that are not empty.
        """
        sequence = stand_in_group().sequences[0]
        while self.most([0]) != [0]:
            rewards_of_sequences(model, [sequence], call=call, **settings)


def with_as_many_passes(batches: Sequence[PreferenceBatch], lockstep: Lockstep) -> list[PreferenceBatch]:
    """Each batch with as many passes as the process with the most has in it; what it teaches stays the same."""
    most = lockstep.most([len(batch.passes) for batch in batches])
    filled = []
    for batch, num_passes in zip(batches, most, strict=True):
        device = batch.passes[0].tree.input_ids.device
        empty = [build_pass([stand_in_group()]).to(device) for _ in range(num_passes - len(batch.passes))]
        filled.append(replace(batch, passes=(*empty, *batch.passes)))
    return filled
