"""Which groups each process takes in each step: the same step on any number of processes, no group twice.

A step's groups are drawn first, for all processes together, then dealt. So one process at batch size 8 and two at
batch size 4 make the same steps. Where a last step has fewer groups than processes, a process without one gets a
stand-in that teaches nothing, instead of a group that another process has already.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import BatchSampler

__all__ = ["STAND_IN", "GroupBatchSampler"]

STAND_IN = -1
"""Index of a group that takes part in a step without a comparison."""


class GroupBatchSampler(BatchSampler):
    """Batches of group indices for one process.

    Args:
        num_groups: Groups in the data set.
        batch_size: Groups per process and batch.
        num_processes, process_index: Who deals, and who this is.
        seed: Of the order; the epoch is added to it.
        shuffle: Whether the order is drawn anew each epoch, or is the data's own.
        drop_last: Whether a last batch that is not full is left out.

    >>> list(GroupBatchSampler(5, 2, num_processes=2, process_index=1, shuffle=False))
    [[1, 3], [-1]]
    """

    def __init__(
        self,
        num_groups: int,
        batch_size: int,
        *,
        num_processes: int = 1,
        process_index: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        self.num_groups = num_groups
        self.batch_size = batch_size
        self.num_processes = num_processes
        self.process_index = process_index
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of another epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        per_step = self.batch_size * self.num_processes
        return self.num_groups // per_step if self.drop_last else -(-self.num_groups // per_step)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.num_groups)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_groups)
        per_step = self.batch_size * self.num_processes
        for step in range(len(self)):
            together = order[step * per_step : (step + 1) * per_step]
            yield together[self.process_index :: self.num_processes].tolist() or [STAND_IN]
