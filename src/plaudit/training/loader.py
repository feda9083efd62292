"""The training batches of a process: groups dealt by `GroupBatchSampler`, collated into trees."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from accelerate.data_loader import prepare_data_loader
from torch.profiler import record_function
from torch.utils.data import DataLoader

from plaudit.training.config import RewardConfig
from plaudit.training.data import GroupDataset
from plaudit.training.group_sizes import tree_sizes
from plaudit.training.interruption import SIGNALS
from plaudit.training.profiling import COLLATION_RANGE
from plaudit.training.sampling import GroupBatchSampler

__all__ = ["group_loader", "leave_signals_to_the_run"]


def group_loader(
    dataset: GroupDataset, args: RewardConfig, *, batch_size: int, collate: Callable[[list[Any]], Any]
) -> DataLoader:
    """Batches of ``batch_size`` groups on average on this process's device, as the settings say."""
    sampler = GroupBatchSampler(
        len(dataset),
        batch_size,
        num_processes=args.world_size,
        process_index=args.process_index,
        batches_per_step=args.gradient_accumulation_steps,
        sizes=tree_sizes(dataset.groups),
        seed=args.seed_of_data,
        strategy=args.train_sampling_strategy,
        drop_last=args.dataloader_drop_last,
    )
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_Traced(collate),
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory and args.device.type == "cuda",
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        worker_init_fn=leave_signals_to_the_run,
    )
    # One process for accelerate: the sampler has dealt already.
    return prepare_data_loader(
        loader, device=args.device, num_processes=1, process_index=0, put_on_device=True
    )


def leave_signals_to_the_run(worker: int) -> None:
    """In a process that loads: launchers signal whole groups of processes, and one that ended would end the run."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class _Traced:
    """A collator with a name in traces; where nothing is traced it costs a few microseconds a batch."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, groups: list[Any]) -> Any:
        with record_function(COLLATION_RANGE):
            return self.collate(groups)
