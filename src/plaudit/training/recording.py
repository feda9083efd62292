"""What a run writes down beside its weights: ``run.json``, ``metrics.jsonl``, curves and the model card.

The recorder collects while the trainer trains; the files are written on the first process only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from plaudit.model import ModelRecord, RewardModel, reward_model_of
from plaudit.model.attributes import attribute_names, reward_weights
from plaudit.tokens import Renderer
from plaudit.training.card import model_card, write_card
from plaudit.training.config import RewardConfig
from plaudit.training.curves import write_curves
from plaudit.training.data import PreparedData, transcripts_as
from plaudit.training.data_record import is_hub_id
from plaudit.training.estimates import EvaluatedSet, evaluated_set, pooled_rewards
from plaudit.training.evaluation import GroupRewards
from plaudit.training.metrics_log import read_metrics
from plaudit.training.model_facts import ModelFacts, adapter_facts
from plaudit.training.run_record import RunRecord, describe_machine, finish_run, run_settings, start_run
from plaudit.training.samples import SampleRow, collect_samples

__all__ = ["RunRecorder", "evaluation_at"]


def evaluation_at(state: TrainerState, step: int) -> dict[str, float]:
    """All evaluation metrics that were logged at a step."""
    lines = [line for line in state.log_history if line["step"] == step]
    return {key: line[key] for line in lines for key in line if key.startswith("eval_")}


class RunRecorder(TrainerCallback):
    """Knows what went into a run and what came out.

    Args:
        renderer: How conversations are rendered.
        base_model: What training starts from.
        train_data: The training data.
        eval_data: The evaluation set, which is called ``eval``, or several by their names.
    """

    def __init__(
        self,
        renderer: Renderer,
        base_model: str,
        train_data: PreparedData | None,
        eval_data: PreparedData | Mapping[str, PreparedData] | None,
    ) -> None:
        self.renderer = renderer
        self.base_model = base_model
        self.train_data = train_data
        several = eval_data if isinstance(eval_data, Mapping) else {"eval": eval_data}
        self.eval_data = {name: data for name, data in several.items() if data is not None}
        self.run: RunRecord | None = None
        self._evaluated: dict[tuple[int, str], EvaluatedSet] = {}
        self._samples: dict[tuple[int, str], list[SampleRow]] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Write ``run.json`` with all that is known before the first step."""
        reward_model = reward_model_of(model)
        config = getattr(model, "peft_config", None)
        adapter = next(iter(config.values())) if config and model is not reward_model else None
        self.run = start_run(
            settings=run_settings(args),
            machine=describe_machine(args.device, args.world_size),
            model=self._facts(reward_model, adapter, args),
            **self._data_records(),
            resumed_from_step=state.global_step or None,
        )
        if state.is_world_process_zero:
            self.run.write(args.output_dir)

    def add_evaluation(
        self, scored: GroupRewards, *, name: str, step: int, loss: float, num_samples: int
    ) -> list[SampleRow]:
        """Note the results on a set; returns its sample comparisons."""
        known = self.eval_data.get(name)
        self._evaluated[step, name] = evaluated_set(
            scored, name=name, step=step, loss=loss, sources=known.record.sources if known else ()
        )
        self._samples[step, name] = samples = collect_samples(scored, self.renderer, num_samples)
        return samples

    def results(self, step: int) -> list[EvaluatedSet]:
        """What the evaluations of the weights of this step found."""
        return [result for (at, _), result in self._evaluated.items() if at == step]

    def finish(
        self,
        folder: Path,
        state: TrainerState,
        *,
        saved_step: int,
        num_episodes: int,
        tokens: tuple[int, int],
        metrics: Mapping[str, float],
    ) -> None:
        """Complete ``run.json``; now it is known, too, what streams lost.

        Args:
            folder: The run's output folder.
            state: The trainer's, at the end.
            saved_step: Optimiser steps that the saved weights have made.
            num_episodes: Comparisons trained on.
            tokens: Computed and given ones.
            metrics: Of the training; those that were logged of the saved weights are added.
        """
        if self.run is None:
            return
        self.run = finish_run(
            self.run,
            **self._data_records(),
            num_steps=state.global_step,
            num_epochs=state.epoch,
            num_episodes=num_episodes,
            saved_step=saved_step,
            num_tokens=tokens[0],
            num_given_tokens=tokens[1],
            wall_time_s=metrics["train_runtime"],
            metrics={**metrics, **evaluation_at(state, saved_step)},
        )
        self.run.write(folder)

    def write_card(self, folder: Path, *, name: str, model_id: str, step: int, **known: Any) -> None:
        """Write the curves and ``README.md``; results count that are of the weights of this step.

        Args:
            folder: The run's output folder.
            name: The model's name.
            model_id: What the code in the card loads.
            step: Optimiser steps that the saved weights have made.
            known: Further arguments of `model_card`.
        """
        if self.run is None:
            return
        lines = read_metrics(folder)
        curves = write_curves(lines, folder)
        text = model_card(
            self.run,
            name=name,
            model_id=model_id,
            lines=lines,
            evaluations=self.results(step),
            samples=[row for (at, _), rows in self._samples.items() if at == step for row in rows],
            curves=curves[0].name if curves else None,
            **known,
        )
        write_card(folder, text)

    def model_record(self, args: RewardConfig, step: int) -> ModelRecord:
        """What ``plaudit.json`` says of the weights of a step; the rewards' spread where these were evaluated."""
        mean, std, num_rewards = pooled_rewards(self.results(step))
        return ModelRecord(
            rendering=self.renderer.rule,
            transcripts=transcripts_as(self.renderer, args.transcripts),
            max_length=args.max_length,
            base_model=self.base_model,
            data_fingerprint=None if self.train_data is None else self.train_data.record.fingerprint,
            reward_mean=mean if num_rewards else None,
            reward_std=std if num_rewards else None,
            num_rewards=num_rewards,
        )

    def _data_records(self) -> dict[str, Any]:
        return {
            "train_data": None if self.train_data is None else self.train_data.record,
            "eval_data": {name: data.record for name, data in self.eval_data.items()},
        }

    def _facts(self, model: RewardModel, adapter: Any, args: RewardConfig) -> ModelFacts:
        rule = self.renderer.rule
        names = attribute_names(model.config)
        return ModelFacts(
            base_model=self.base_model,
            base_is_on_hub=is_hub_id(self.base_model),
            architecture=type(model).__name__,
            num_parameters=model.num_parameters(),
            num_trainable_parameters=model.num_parameters(only_trainable=True),
            adapter=None
            if adapter is None
            else adapter_facts(adapter.to_dict(), is_merged=args.merge_adapter),
            head=args.head,
            attributes=dict(zip(names, reward_weights(model.config), strict=True)) if names else {},
            render=rule.render,
            eos_token=rule.eos_token,
            chat_template_kwargs=rule.chat_template_kwargs,
            attention=model.attention_backend,
        )
