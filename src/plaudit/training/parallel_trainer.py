"""Trainer on several processes: what transformers leaves open about DeepSpeed and FSDP2.

The engine that was asked for runs or it is an error; a step of several passes is one step; checkpoints are written in
shards and can be gone on from by another number of processes; the folder at the end is whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from plaudit.errors import PlauditError
from plaudit.model import RewardModel, reward_model_of, set_backend
from plaudit.model.adapter import has_adapter
from plaudit.model.head import head_of
from plaudit.model.partitioned import is_partitioned, share_from_first
from plaudit.training.config import RewardConfig
from plaudit.training.cpu_sharding import named_mesh, turn_on_fsdp
from plaudit.training.lockstep import Lockstep
from plaudit.training.parallel import keep_rewards_in_float32, require_engine
from plaudit.training.pushing import PushingTrainer
from plaudit.training.sharded_checkpoints import (
    mend_optimizer,
    require_best_can_be_loaded,
    universal_checkpoint,
)

__all__ = ["ParallelTrainer"]


class ParallelTrainer(PushingTrainer):
    """PushingTrainer, for any engine of `plaudit.training.parallel`."""

    _is_staging = False
    """Whether what is saved now is part of a checkpoint."""
    lockstep: Lockstep | None = None
    """Where every pass needs every process: how they agree on a number of passes."""

    # Setting up ---------------------------------------------------------------------------------------------

    def create_accelerator_and_postprocess(self) -> None:
        """As in Trainer; then FSDP2 on CPUs, which accelerate leaves off.

        Raises:
            PlauditError: The engine that was asked for is not the one that runs.
        """
        super().create_accelerator_and_postprocess()
        self.is_fsdp_enabled = turn_on_fsdp(self.accelerator, self.args)
        keep_rewards_in_float32(self.accelerator)
        require_engine(cast(RewardConfig, self.args).parallel, self.accelerator)
        if self.is_fsdp_enabled:
            # Between micro-batches as between passes: see `_without_exchange`.
            self.accelerator.gradient_state.plugin_kwargs["sync_each_batch"] = True
        is_sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if is_sharded and self.accelerator.num_processes > 1:
            self.lockstep = Lockstep()

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any
    ) -> Any:
        require_best_can_be_loaded(cast(RewardConfig, self.args), resume_from_checkpoint)
        model = self._reward_model()
        share_from_first(_drawn_weights(cast(nn.Module, self.model), model), self.args.device)
        if self.lockstep is not None:
            model.rows_per_batch = None
        with (
            named_mesh(self.accelerator),
            universal_checkpoint(self.accelerator, resume_from_checkpoint) as universal,
        ):
            prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
            if universal is not None:
                mend_optimizer(cast(Any, self.optimizer).optimizer, universal)
        self._try_backend()
        return prepared

    def _try_backend(self) -> None:
        """Try the attention backend now, where the weights were not there when the model was loaded."""
        model, args = self._reward_model(), cast(RewardConfig, self.args)
        if model.attention_backend != "padded" and not model.is_backend_tried:
            is_half = bool(args.bf16 or args.fp16)
            call = cast(nn.Module, self.model_wrapped)
            set_backend(model, args.attention, call=call, computes_in_half=is_half)

    def _reward_model(self) -> RewardModel:
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return reward_model_of(cast(nn.Module, model))

    # Steps --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _without_exchange(self, model: nn.Module) -> Iterator[None]:
        """Inside, a backward pass is not the last of its step: its gradient waits for those to come.

        FSDP2 reduces after every pass all the same: a gradient that waited would be a whole one on every process.
        accelerate lets DeepSpeed update the weights after each backward pass that synchronises; and ZeRO-2 and 3 keep
        divided gradients, so that they have no ``no_sync``, and reduce after every pass.
        """
        if self.is_fsdp_enabled:
            yield
            return
        if not self.is_deepspeed_enabled:
            with self.accelerator.no_sync(model):
                yield
            return
        state = self.accelerator.gradient_state
        before = state.sync_gradients
        state._set_sync_gradients(False)
        try:
            yield
        finally:
            state._set_sync_gradients(before)

    def _backward_arguments(self) -> dict[str, Any]:
        """DeepSpeed would divide by the accumulation steps once more."""
        return {"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}

    # Scoring ------------------------------------------------------------------------------------------------

    @property
    def _is_divided(self) -> bool:
        """Whether a process holds a part of the weights only."""
        return self.is_fsdp_enabled or is_partitioned(cast(nn.Module, self.model))

    @property
    def _scoring_call(self) -> nn.Module:
        """What gives rewards: the model itself where it is whole, else what the engine made of it.

        Raises:
            PlauditError: There is no engine yet.
        """
        if not self._is_divided:
            return cast(nn.Module, self.model)
        if is_partitioned(cast(nn.Module, self.model)) and self.model_wrapped is self.model:
            raise PlauditError(
                "the weights are divided, and what gathers them is made by train()",
                where="evaluate",
                fix="Evaluate after train(), or at its start: --eval-on-start.",
            )
        return cast(nn.Module, self.model_wrapped)

    # Saving -------------------------------------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """A plain transformers folder; of divided weights a checkpoint gets everything but them.

        They are beside it already, in shards, and gathering them costs time and one process's memory.
        """
        folder = output_dir or cast(str, self.args.output_dir)
        if not self._is_divided:
            super().save_model(output_dir, _internal_call)
            return
        is_adapter = has_adapter(cast(nn.Module, self.model))
        weights = {} if self._is_staging and not is_adapter else self._gathered(only_trained=is_adapter)
        self._save(folder, state_dict=weights)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _gathered(self, *, only_trained: bool) -> dict[str, Tensor]:
        """The whole weights on the first process's host, and nothing on the others; all have to call it."""
        if self.is_deepspeed_enabled:
            engine = cast(Any, self.deepspeed)
            return engine._zero3_consolidated_16bit_state_dict(exclude_frozen_parameters=only_trained) or {}
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=only_trained)
        return cast("dict[str, Tensor]", get_model_state_dict(cast(nn.Module, self.model), options=options))


def _drawn_weights(model: nn.Module, reward_model: RewardModel) -> list[Tensor]:
    """What may have been drawn in this process: the head, and the weights of an adapter."""
    drawn = list(head_of(reward_model).parameters())
    if has_adapter(model):
        known = {id(parameter) for parameter in drawn}
        drawn += [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    return [parameter for parameter in drawn if not isinstance(parameter, DTensor)]
