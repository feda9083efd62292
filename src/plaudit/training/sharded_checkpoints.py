"""Going on from a DeepSpeed checkpoint with another number of processes than wrote it.

DeepSpeed's shards fit the number of processes that wrote them. Its universal format fits any: the checkpoint is turned
into it beside the shards, read, and removed. FSDP2's checkpoints (``torch.distributed.checkpoint``) fit any number as
they are.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from transformers import TrainingArguments

from plaudit.errors import PlauditError
from plaudit.processes import one_process_first

__all__ = ["mend_optimizer", "num_shards", "require_best_can_be_loaded", "universal_checkpoint"]

LATEST = "latest"
"""DeepSpeed's file with the name of the folder that holds the shards."""

UNIVERSAL = "_universal"
"""What the folder with the universal format has behind that name."""

log = logging.getLogger(__name__)


def num_shards(checkpoint: str | Path) -> int | None:
    """How many processes wrote a DeepSpeed checkpoint; None where it is none of DeepSpeed's."""
    latest = Path(checkpoint) / LATEST
    if not latest.is_file():
        return None
    folder = Path(checkpoint) / latest.read_text(encoding="utf-8").strip()
    return len(list(folder.glob("*zero_pp_rank_*_optim_states.pt")))


def require_best_can_be_loaded(args: TrainingArguments, checkpoint: str | Path | None) -> None:
    """Refuse at the start what DeepSpeed would refuse at the end of a run.

    Args:
        args: The run's.
        checkpoint: What it goes on from; None at its beginning.

    Raises:
        PlauditError: The best checkpoint is to be loaded at the end, and others than these wrote those so far.
    """
    written_by = None if checkpoint is None else num_shards(checkpoint)
    if not args.load_best_model_at_end or written_by in (None, args.world_size):
        return
    raise PlauditError(
        f"{written_by} processes wrote the checkpoints so far, and DeepSpeed cannot load the best of them into "
        f"{args.world_size} at the end",
        where="--load-best-model-at-end",
        fix=f"Go on with {written_by} processes, or without it.",
    )


@contextlib.contextmanager
def universal_checkpoint(accelerator: Accelerator, checkpoint: str | Path | None) -> Iterator[Path | None]:
    """Inside, an engine that is made can read a checkpoint that another number of processes wrote.

    Args:
        accelerator: Of the engine; every process has to enter.
        checkpoint: Trainer's folder, on a disk that every process sees; None for the beginning of a run.

    Yields:
        The folder in the universal format, for `mend_optimizer`; None where the shards fit as they are.
    """
    plugin = accelerator.state.deepspeed_plugin
    written_by = None if plugin is None or checkpoint is None else num_shards(checkpoint)
    if written_by is None or written_by == accelerator.num_processes:
        yield None
        return
    folder = Path(cast("str | Path", checkpoint))
    shards = folder / (folder / LATEST).read_text(encoding="utf-8").strip()
    universal = shards.with_name(shards.name + UNIVERSAL)
    with one_process_first(accelerator.is_main_process, of=0):
        if accelerator.is_main_process:
            log.info("%s: written by %d processes, read by %d", folder, written_by, accelerator.num_processes)
            shutil.rmtree(universal, ignore_errors=True)
            _convert(shards, universal)
    settings = cast(Any, plugin).deepspeed_config.setdefault("checkpoint", {})
    settings["load_universal"] = True
    try:
        yield universal
        accelerator.wait_for_everyone()
    finally:
        del settings["load_universal"]
        if accelerator.is_main_process:
            shutil.rmtree(universal, ignore_errors=True)
            (folder / f"{LATEST}{UNIVERSAL}").unlink(missing_ok=True)


def mend_optimizer(optimizer: Any, universal: Path) -> None:
    """Put right what DeepSpeed 0.19 gets wrong when ZeRO-3 reads the universal format.

    All parts of the optimiser share one step counter, so that each step counts as many times as there are parts; and
    all groups get the settings of the first, so that what has no weight decay gets some.

    Args:
        optimizer: DeepSpeed's, around torch's.
        universal: The folder that was read.
    """
    inner: torch.optim.Optimizer = optimizer.optimizer
    for state in inner.state.values():
        if isinstance(state.get("step"), torch.Tensor):
            state["step"] = state["step"].clone()
    saved = torch.load(universal / "zero" / "optimizer_state.pt", weights_only=False)
    groups = saved.get("optimizer_state_dict", saved)["param_groups"]
    for group, settings in zip(inner.param_groups, groups, strict=True):
        group.update({name: value for name, value in settings.items() if name != "params"})


def _convert(shards: Path, universal: Path) -> None:
    from deepspeed.checkpoint.ds_to_universal import main

    settings = Namespace(
        input_folder=str(shards),
        output_folder=str(universal),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(settings)  # it tells of each file
