"""Engines that train one model on several processes, by name: what each is asked to do, and that it does it.

========  ================================================================================================
ddp       Every process holds the whole model; gradients are averaged.
zero1     As ddp; each process keeps a part of the optimiser's state (arXiv:1910.02054).
zero2     Gradients are divided, too.
zero3     Weights are divided, too: gathered layer by layer where they are used.
fsdp2     As zero3, by PyTorch itself (``torch.distributed.fsdp.fully_shard``, arXiv:2304.11277).
========  ================================================================================================

The presets of DeepSpeed and FSDP are here and nowhere else.
"""

from __future__ import annotations

import json
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import TrainingArguments

from plaudit.errors import PlauditError, missing_extra

__all__ = [
    "PARALLEL",
    "engine_settings",
    "is_launched",
    "keep_rewards_in_float32",
    "load_for_engine",
    "parallel_problems",
    "prepare_environment",
    "require_engine",
    "start_deepspeed",
]

PARALLEL = ("ddp", "fsdp2", "zero1", "zero2", "zero3")
"""What ``--parallel`` takes."""

FSDP2: dict[str, Any] = {
    "version": 2,
    "reshard_after_forward": True,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "state_dict_type": "SHARDED_STATE_DICT",
}
"""accelerate's settings: each layer is a unit, its weights are let go after use, checkpoints stay in shards."""

ALONE_PORT = "PLAUDIT_ALONE_PORT"
"""Variable with the port of a process that no launcher started: what is beside it in the environment is plaudit's."""

NEEDS_WHOLE_WEIGHTS = ("fsdp2", "zero3")
"""Engines that divide weights, and so cannot take quantised ones."""


def engine_settings(parallel: str, *, fsdp_config: dict[str, Any] | str | None = None) -> dict[str, Any]:
    """The fields of TrainingArguments that ask for an engine.

    Args:
        parallel: One of `PARALLEL`.
        fsdp_config: Settings of accelerate that override the preset's, or a JSON file of them.

    >>> engine_settings("fsdp2")["fsdp"]
    True
    """
    if parallel == "fsdp2":
        if isinstance(fsdp_config, str):
            is_text = fsdp_config.lstrip().startswith("{")
            text = fsdp_config if is_text else Path(fsdp_config).read_text(encoding="utf-8")
            return {"fsdp": True, "fsdp_config": FSDP2 | json.loads(text)}
        return {"fsdp": True, "fsdp_config": FSDP2 | (fsdp_config or {})}
    return {"deepspeed": _zero(int(parallel[-1]))} if parallel.startswith("zero") else {}


def _zero(stage: int) -> dict[str, Any]:
    """DeepSpeed's settings; ``auto`` are those that transformers fills in from the run's own."""
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
    }
    if stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            # For the folder at the end; checkpoints are not gathered.
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "steps_per_print": 10**9,  # Trainer logs
    }


def parallel_problems(parallel: str, *, deepspeed: Any, fsdp: Any, is_quantized: bool) -> list[PlauditError]:
    """Why a run cannot have an engine, by its settings: the others that name an engine, and quantisation."""
    problems: list[PlauditError] = []
    preset = engine_settings(parallel)
    others = {"--deepspeed": deepspeed, "--fsdp": fsdp}
    given = [flag for flag, value in others.items() if value and value != preset.get(flag[2:])]
    if given:
        what = f"{parallel} and {' and '.join(given)} both name an engine"
        problems.append(PlauditError(what, where="--parallel", fix="Give one of them."))
    if is_quantized and parallel in NEEDS_WHOLE_WEIGHTS:
        problems.append(
            PlauditError(
                f"{parallel} divides the weights, and quantised ones cannot be divided",
                where="--parallel",
                fix="Use ddp, zero1 or zero2; or leave --load-in-4bit and --load-in-8bit out.",
            )
        )
    if parallel.startswith("zero") and find_spec("deepspeed") is None:
        problems.append(missing_extra("deepspeed", "deepspeed", f"--parallel {parallel}"))
    return problems


def is_launched() -> bool:
    """Whether a launcher started this process: torchrun and what is built on it say which one it is."""
    return "LOCAL_RANK" in os.environ and os.environ.get(ALONE_PORT) != os.environ.get("MASTER_PORT", "")


def prepare_environment(parallel: str | None, *, use_cpu: bool) -> bool:
    """Set what the libraries read from the environment, before they do; returns whether to train on the CPU.

    Without an accelerator, several processes that were not told to use the CPU would each train alone. And an engine
    that divides needs a group of processes even where there is one process, so that its checkpoints can be gone on
    from by any number.
    """
    divides = parallel is not None and parallel != "ddp"
    if divides and not is_launched():
        os.environ |= {
            "RANK": "0",
            "WORLD_SIZE": "1",
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": (port := str(_free_port())),
            ALONE_PORT: port,
        }
    use_cpu = use_cpu or ((divides or is_launched()) and not torch.accelerator.is_available())
    if use_cpu and parallel is not None and parallel.startswith("zero"):
        os.environ["DS_ACCELERATOR"] = "cpu"
    return use_cpu


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_deepspeed() -> None:
    """Let DeepSpeed know the processes, before a model is loaded: ZeRO-3 divides it while it is."""
    import deepspeed

    if os.environ.get("DS_ACCELERATOR") == "cpu":
        # Else it compiles an operation for shared memory first, which takes minutes and a compiler; gloo is there.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(auto_mpi_discovery=False)


def load_for_engine(args: TrainingArguments) -> None:
    """Let models that are loaded from now on be divided while they are, if these arguments ask for ZeRO-3, or not.

    transformers goes by the DeepSpeed configuration that was made last, be it an earlier run's.
    """
    from transformers.integrations import deepspeed

    plugin: Any = args.deepspeed_plugin
    if plugin is None:
        deepspeed.unset_hf_deepspeed_config()
    else:
        deepspeed.set_hf_deepspeed_config(plugin.hf_ds_config)


def keep_rewards_in_float32(accelerator: Accelerator) -> None:
    """Let FSDP2 compute layers in 16 bits, but sum gradients and give rewards in float32, where 16 bits are asked for.

    accelerate's own policy has everything in 16 bits, where a reward near 4 moves in steps of 1/32.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    if dtype is not None and accelerator.is_fsdp2:
        plugin: Any = accelerator.state.fsdp_plugin
        plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)


def require_engine(parallel: str | None, accelerator: Accelerator) -> None:
    """Make sure that the engine that was asked for is the one that runs.

    Raises:
        PlauditError: It is another one, as where ``accelerate launch`` was configured for one.
    """
    active = _active(accelerator)
    if parallel is None or active == parallel:
        return
    raise PlauditError(
        f"{parallel} was asked for, and accelerate has set up {active}",
        where="--parallel",
        fix="Leave --parallel out, or the engine out of the configuration of accelerate launch.",
    )


def _active(accelerator: Accelerator) -> str:
    state: Any = accelerator.state
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return f"zero{state.deepspeed_plugin.zero_stage}"
    if accelerator.distributed_type == DistributedType.FSDP:
        return f"fsdp{state.fsdp_plugin.fsdp_version}"
    return "ddp"
