"""RewardTrainer: transformers' Trainer, with a tree for a batch and exact metrics. Takes what TRL's takes.

What is ours: token groups instead of padded pairs (`data`), a collator that builds trees (`batch`), a step that may
take several passes, a loss divided once, sums and counts for metrics (`meter`), and an evaluation in which every
row counts once on any number of processes (`evaluation`). Everything else is Trainer's.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import (
    EvalPrediction,
    SaveStrategy,
    TrainOutput,
    set_seed,
)

from plaudit.errors import PlauditError
from plaudit.model import reward_model_of, save_reward_model
from plaudit.model.adapter import has_adapter
from plaudit.model.attributes import attribute_names, reward_of_outputs
from plaudit.objective import Prediction
from plaudit.tokens import Renderer, TokenStream, TokenTable
from plaudit.training.batch import PreferenceBatch, PreferencePass, TreeCollator
from plaudit.training.config import RewardConfig
from plaudit.training.counts import RunCounts
from plaudit.training.data import GroupDataset, require_terms
from plaudit.training.evaluating_trainer import EvaluatingTrainer
from plaudit.training.guards import FiniteGuard, group_namer
from plaudit.training.guide import warn_of_settings
from plaudit.training.interruption import Interruption
from plaudit.training.kernels import use_kernels
from plaudit.training.loader import group_loader, leave_signals_to_the_run
from plaudit.training.lockstep import with_as_many_passes
from plaudit.training.meter import TrainingMeter
from plaudit.training.metrics_log import MetricsLog
from plaudit.training.offloading import activations_on_host
from plaudit.training.passes import PassRunner
from plaudit.training.profiling import StepProfiler
from plaudit.training.progress import RewardProgress
from plaudit.training.recording import RunRecorder
from plaudit.training.starting_point import base_name, model_for_training, tokenizer_for_training

__all__ = ["RewardTrainer"]

log = logging.getLogger(__name__)

_Optimizers = tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None]


class RewardTrainer(EvaluatingTrainer):
    """Train a reward model on preference groups.

    Args:
        model: A path, a hub id, a sequence-classification model with one output, or a PeftModel around one. A name
            of a causal model gets a fresh head; the head of a model object is taken as it is.
        args: The run's settings.
        data_collator: Instead of the tree collator, for batches of your own making.
        train_dataset: Anything `plaudit.preferences.read_preferences` reads, ``Preferences``, a ``TokenTable``, or
            a datasets.Dataset, raw or with ``chosen_ids``/``rejected_ids``.
        eval_dataset: The same, or a dict of several.
        processing_class: The tokenizer; None loads it from the model's name.
        compute_metrics: Gets an EvalPrediction whose predictions are [num_comparisons, 2]: the rewards of the
            better and of the worse completion.
        callbacks, optimizers, optimizer_cls_and_kwargs, preprocess_logits_for_metrics: As in Trainer.
        quantization_config: A ``BitsAndBytesConfig``, for a model given by name.
        peft_config: A config of peft (LoRA and its kin); the head is trained and saved in full beside it.

    Raises:
        PlauditError: When the model, the data or a setting cannot be used; it says what to do.
    """

    _tag_names = ("plaudit", "reward-trainer")

    def __init__(
        self,
        model: str | nn.Module,
        args: RewardConfig | None = None,
        data_collator: Callable[[list[Any]], PreferenceBatch] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, Any]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: _Optimizers = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Tensor, Tensor], Tensor] | None = None,
        quantization_config: Any = None,
        peft_config: Any = None,
    ) -> None:
        args = args or RewardConfig(output_dir=f"{base_name(model)}-Reward")
        set_seed(args.seed)
        tokenizer = tokenizer_for_training(model, args, processing_class)
        ready = model_for_training(
            model, args, tokenizer, peft_config=peft_config, quantization_config=quantization_config
        )
        reward_model = reward_model_of(ready)
        self.objective = args.chosen_objective()
        self.renderer = Renderer(tokenizer, render=args.render, eos_token=args.eos_token)
        self.meter = TrainingMeter()
        self.counts = RunCounts(num_objectives=len(self.objective.names))
        self.base_model_name = str(reward_model.config.name_or_path or base_name(model))
        self._attribute_names = attribute_names(reward_model.config)
        train_data = None if train_dataset is None else self._prepare(train_dataset, args)
        eval_data = _each(eval_dataset, lambda data: self._prepare(data, args))
        train_groups = None if train_data is None else train_data.groups
        if isinstance(train_groups, TokenTable):
            require_terms(train_groups, self.objective)
        if isinstance(train_groups, TokenStream):
            # accelerate would cut batches of tensors apart to send them
            cast(Any, args.accelerator_config).dispatch_batches = False
        super().__init__(
            model=ready,
            args=args,
            data_collator=cast(Any, data_collator or TreeCollator(args.max_tokens_per_pass, self.objective)),
            train_dataset=cast(Any, None if train_groups is None else GroupDataset.of(train_groups)),
            eval_dataset=cast(Any, _each(eval_data, lambda data: data.groups)),
            processing_class=tokenizer,
            compute_metrics=compute_metrics,
            callbacks=[MetricsLog(), self.meter, self.counts, *(callbacks or [])],
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        if preprocess_logits_for_metrics is not None:
            log.warning("preprocess_logits_for_metrics has no effect: rewards are one number each already")
        self.train_groups = train_groups
        self.recorder = RunRecorder(self.renderer, self.base_model_name, train_data, eval_data)
        self.interruption = Interruption()
        self.guard = FiniteGuard(
            self.interruption, group_namer(None if train_data is None else train_data.preferences)
        )
        self.passes = PassRunner(
            forward=self._forward_pass,
            backward=self._backward,
            keep_gradients=self._without_exchange,
            on_forward=self.guard.see_loss,
            on_done=self.meter.add_rewards,
            is_sharded=self.is_deepspeed_enabled,
        )
        for callback in (self.recorder, self.guard, self.interruption):
            self.add_callback(callback)
        if train_groups is not None and optimizers[0] is None:
            warn_of_settings(reward_model, args, uses_adapter=has_adapter(ready))
        use_kernels(reward_model, args, self.accelerator)
        if args.profile:
            self.add_callback(StepProfiler())
        self._replace_progress_bar()
        reward_model.add_model_tags(list(self._tag_names))

    # Training -----------------------------------------------------------------------------------------------

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trainer's training, completed by ``run.json`` and the model's folder."""
        self._best_step = None
        return super().train(*args, **kwargs)

    def _after_training(self, output: TrainOutput) -> None:
        if self.args.load_best_model_at_end:
            self._best_step = self.state.best_global_step
        tokens = self.counts.tokens(self.accelerator)
        if self.is_world_process_zero():
            self.counts.warn_of_idle(self.objective)
            self.recorder.finish(
                Path(cast(str, self.args.output_dir)),
                self.state,
                saved_step=self.step_of_weights,
                num_episodes=self.counts.num_episodes,
                tokens=tokens,
                metrics=output.metrics,
            )
        if self.args.save_strategy != SaveStrategy.NO:
            # Trainer leaves checkpoints only, and no model in the folder itself.
            self.save_model(_internal_call=True)

    def get_train_dataloader(self) -> DataLoader:
        """Batches of groups, dealt over the processes by `GroupBatchSampler`; a stream is cut by accelerate."""
        dataset = self.train_dataset
        if dataset is None:
            raise PlauditError("there is nothing to train on", where="train_dataset", fix="Give a data set.")
        if not isinstance(dataset, GroupDataset):
            loader = super().get_train_dataloader()
            loader.worker_init_fn = leave_signals_to_the_run
            return loader
        return group_loader(
            dataset,
            cast(RewardConfig, self.args),
            batch_size=self._train_batch_size,
            collate=self.data_collator,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[PreferenceBatch], num_batches: int, device: torch.device
    ) -> tuple[list[PreferenceBatch], Tensor]:
        """The micro-batches of one step, and the weight of all their terms, per objective, over all processes."""
        batches: list[PreferenceBatch] = []
        has_ended = self.state.global_step >= self.state.max_steps
        if has_ended:  # resumed from its last checkpoint: nothing is left to do
            return batches, torch.zeros(len(self.objective.names))
        for _ in range(num_batches):
            try:
                batches.append(next(epoch_iterator))
            except StopIteration:
                break
        if self.lockstep is not None and cast(RewardConfig, self.args).max_tokens_per_pass is not None:
            batches = with_as_many_passes(batches, self.lockstep)
        counts = torch.zeros(len(self.objective.names) + 1, dtype=torch.float64)
        for batch in batches:
            counts[:-1] += batch.total_weights.cpu()
            counts[-1] += batch.num_episodes
        for part in (self.meter, self.passes, self.guard):
            part.begin_step()
        step = cast(Tensor, self.accelerator.reduce(counts.to(device), reduction="sum"))
        self.counts.add_step(step)
        return batches, step[:-1]

    def training_step(
        self,
        model: nn.Module,
        inputs: PreferenceBatch,  # type: ignore[override]
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Forward and backward over the passes of a micro-batch; returns its part of the step's loss."""
        model.train()
        if callable(train_optimizer := getattr(self.optimizer, "train", None)):
            train_optimizer()  # schedule-free optimisers have two modes
        batch = inputs.to(self.args.device)
        ends_step = self.accelerator.sync_gradients
        loss = self.passes.run(model, batch.passes, num_items_in_batch, ends_step=ends_step)
        self.meter.add_batch(batch)
        self.counts.add_batch(batch)
        return loss

    def _forward_pass(
        self, model: nn.Module, part: PreferencePass, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss of a pass, and its rewards."""
        with self.compute_loss_context_manager(), self._offloading():
            loss, outputs = self.compute_loss(model, part, return_outputs=True, num_items_in_batch=weights)
        return loss, cast("dict[str, Tensor]", outputs)["rewards"]

    def _backward(self, loss: Tensor) -> None:
        if self.is_deepspeed_enabled and self.accelerator.sync_gradients:
            # DeepSpeed moves the weights inside of the step's last backward pass.
            self.guard.require_finite_losses(self.args.process_index, self.state.global_step)
        self.accelerator.backward(loss, **self._backward_arguments())

    def _offloading(self) -> contextlib.AbstractContextManager:
        """Activations wait for the backward pass in the host's memory where ``activation_offloading`` says so."""
        if not cast(RewardConfig, self.args).activation_offloading:
            return contextlib.nullcontext()
        return activations_on_host()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: PreferencePass,  # type: ignore[override]
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The summed losses of a pass, divided by the weights of the whole step.

        Gradients are averaged over processes, so the sum is multiplied by their number.
        """
        outputs = model(tree=inputs.tree).logits.float()
        rewards = reward_of_outputs(self._reward_model().config, outputs)
        sums = self.objective.sums(Prediction(rewards=rewards, outputs=outputs), inputs.judgements)
        if num_items_in_batch is None:
            num_items_in_batch = self.objective.total_weights(inputs.judgements)
        loss = self.objective.loss(sums, num_items_in_batch) * self.accelerator.num_processes
        return (loss, {"rewards": rewards}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's log line, with the exact training metrics since the last one."""
        if "loss" in logs:
            learning_rate = logs.get("learning_rate")
            logs |= self.meter.drain(self.accelerator)
            logs["episode"] = self.counts.num_episodes
            if learning_rate is not None:
                logs["rm/lr"] = learning_rate
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: PreferenceBatch) -> int:  # type: ignore[override]
        """6 operations per parameter and computed token."""
        num_parameters = cast(PreTrainedModel, self.model).num_parameters(exclude_embeddings=True)
        return 6 * inputs.num_tokens * num_parameters

    def _track_num_input_tokens(self, inputs: PreferenceBatch) -> None:  # type: ignore[override]
        if self.args.include_num_input_tokens_seen != "no":
            self.state.num_input_tokens_seen += inputs.num_tokens * self.args.world_size

    # Saving -------------------------------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """A plain transformers folder, whole or not at all, with its tokenizer and ``plaudit.json``."""
        model = cast(nn.Module, self.accelerator.unwrap_model(self.model, keep_torch_compile=False))
        if not self.args.should_save:
            return None
        args = cast(RewardConfig, self.args)
        folder = Path(output_dir or cast(str, args.output_dir))
        save_reward_model(
            model,
            folder,
            tokenizer=cast(PreTrainedTokenizerBase, self.processing_class),
            record=self.recorder.model_record(args, self.step_of_weights),
            state_dict=state_dict,
            # A checkpoint is what a run goes on from: it keeps the adapter, and the score head.
            merge=args.merge_adapter and not self._is_staging,
            head="score" if self._is_staging else args.head,
            value_head_format=args.value_head_format,
        )
        torch.save(args, folder / "training_args.bin")
        if folder.resolve() == Path(cast(str, args.output_dir)).resolve():
            self.create_model_card()

    def create_model_card(  # type: ignore[override]
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        dataset_tags: str | list[str] | None = None,
        **_: Any,
    ) -> None:
        """Write ``README.md`` and the curves into the output folder, once there was training.

        Args:
            language, license: For the front matter, if known.
            tags: Beside plaudit's own.
            model_name: The heading; the folder's name when None.
            dataset_tags: Hub ids of training data that plaudit does not know of.
        """
        if not self.is_world_process_zero():
            return
        folder = Path(cast(str, self.args.output_dir)).absolute()
        self.recorder.write_card(
            folder,
            name=model_name or folder.name,
            model_id=self.args.hub_model_id or folder.name,
            step=self.step_of_weights,
            language=language,
            license=license,
            tags=_listed(tags),
            datasets=_listed(dataset_tags),
        )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Trainer's checkpoint, with the counts of the run in its state file."""
        self.counts.save(self.state, self.accelerator)
        super()._save_checkpoint(model, trial)

    # Preparation --------------------------------------------------------------------------------------------

    def _replace_progress_bar(self) -> None:
        """Trainer's bar prints whole dictionaries; ours says loss, accuracy, tokens/s and tokens saved."""
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(RewardProgress())


def _listed(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _each(data: Any, prepare: Callable[[Any], Any]) -> Any:
    """Prepare one evaluation set, or each of several by name."""
    if data is None:
        return None
    if isinstance(data, Mapping):
        return {name: prepare(part) for name, part in data.items()}
    return prepare(data)
