"""Faults that a reward model's trainer can have, each as one edit of the package, and the tests that have to see it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One edit, and who has to notice."""

    name: str
    """What goes wrong, in words."""
    file: str
    """The file, from ``src/plaudit``."""
    old: str
    """The text that is there, exactly once."""
    new: str
    """What takes its place."""
    tests: tuple[str, ...]
    """pytest's arguments: at least one of these tests turns red."""


OBJECTIVES = ("tests/objective/test_objectives.py",)
BATCHES = ("tests/training/test_batch.py",)
EQUALITY = ("tests/model/test_equality.py",)
TRAINER = ("tests/training/test_trainer.py",)
TRL = ("tests/training/test_against_trl.py",)
LOADING = ("tests/model/test_loading.py",)
ADAPTERS = ("tests/model/test_adapters.py",)
RENDERING = ("tests/tokens/test_rendering.py", "tests/tokens/test_rendered.py")
LIMITS = ("tests/tokens/test_limits.py",)

FAULTS = (
    # The loss
    Fault(
        "the loss has the wrong sign",
        "objective/bradley_terry.py",
        "losses = -logsigmoid(difference)",
        "losses = logsigmoid(difference)",
        OBJECTIVES,
    ),
    Fault(
        "the margin is dropped",
        "objective/comparisons.py",
        "return better - worse - judgements.margin",
        "return better - worse",
        OBJECTIVES,
    ),
    Fault(
        "chosen and rejected are swapped in the batch",
        "training/batch.py",
        'better=indices("better"),\n        worse=indices("worse"),',
        'better=indices("worse"),\n        worse=indices("better"),',
        BATCHES,
    ),
    Fault(
        "weights are ignored",
        "objective/comparisons.py",
        "weight = judgements.weight if with_ties else judgements.weight * ~judgements.is_tie",
        "weight = judgements.weight**0 if with_ties else ~judgements.is_tie * judgements.weight**0",
        OBJECTIVES,
    ),
    Fault(
        "ties count as decided",
        "objective/comparisons.py",
        "else judgements.weight * ~judgements.is_tie",
        "else judgements.weight",
        OBJECTIVES,
    ),
    Fault(
        "label smoothing is ignored",
        "objective/bradley_terry.py",
        "if self.label_smoothing == 0:",
        "if self.label_smoothing >= 0:",
        OBJECTIVES,
    ),
    Fault(
        "centering is ignored",
        "objective/choice.py",
        "if center_rewards_coefficient:",
        "if center_rewards_coefficient is ...:",
        OBJECTIVES,
    ),
    Fault(
        "averaging per prompt is ignored",
        "objective/comparisons.py",
        "if not average_per_prompt or not len(weight):",
        "if True:",
        OBJECTIVES,
    ),
    Fault(
        "a tie is scored as a win (Rao-Kupper)",
        "objective/rao_kupper.py",
        "return -log_tie.where(judgements.is_tie, log_win)",
        "return -log_win",
        OBJECTIVES,
    ),
    Fault(
        "a ranking is read upside down",
        "objective/ranking.py",
        "np.unique(-values, return_inverse=True)",
        "np.unique(values, return_inverse=True)",
        OBJECTIVES,
    ),
    Fault(
        "Plackett-Luce compares with those already placed",
        "objective/plackett_luce.py",
        "(rank[:, None] <= rank)",
        "(rank[:, None] >= rank)",
        OBJECTIVES,
    ),
    Fault(
        "unrated sequences count in a regression",
        "objective/regression.py",
        "return (~judgements.rating.isnan()).float()",
        "return judgements.rating.nan_to_num() * 0 + 1",
        OBJECTIVES,
    ),
    Fault(
        "attributes count alike in the reward",
        "model/attributes.py",
        "return outputs @ torch.tensor(weights, dtype=outputs.dtype, device=outputs.device)",
        "return outputs.sum(1)",
        ("tests/training/test_objectives_learn.py", "-k", "attributes"),
    ),
    Fault(
        "the loss is a mean of the micro-batches' means",
        "training/trainer.py",
        "if num_items_in_batch is None:",
        "if True:",
        ("tests/training/test_exact_metrics.py", "tests/training/test_step.py"),
    ),
    Fault(
        "gradients shrink with the number of processes",
        "training/trainer.py",
        " * self.accelerator.num_processes",
        "",
        ("tests/training/test_step.py",),
    ),
    # The metrics
    Fault(
        "the accuracy counts reward ties as right",
        "objective/metrics.py",
        "num_correct=int(np.count_nonzero(b > w))",
        "num_correct=int(np.count_nonzero(b >= w))",
        ("tests/objective/test_metrics.py",),
    ),
    Fault(
        "data ties count as comparisons lost",
        "objective/metrics.py",
        'f"{prefix}accuracy": _ratio(self.num_correct, self.num_decided)',
        'f"{prefix}accuracy": _ratio(self.num_correct, self.num_comparisons)',
        ("tests/objective/test_metrics.py",),
    ),
    Fault(
        "metrics are those of one process",
        "training/meter.py",
        "total = PairSums.from_vector(gathered[:, : len(sums)].sum(0))",
        "total = PairSums.from_vector(gathered[0, : len(sums)])",
        ("tests/training/test_exact_metrics.py",),
    ),
    Fault(
        "a log line goes on counting from the one before",
        "training/meter.py",
        "        self._restart()\n        metrics",
        "        metrics",
        TRAINER,
    ),
    # The head
    Fault(
        "the head is frozen",
        "model/reward_model.py",
        "    return cast(RewardModel, model)",
        "    head_of(model).requires_grad_(False)\n    return cast(RewardModel, model)",
        EQUALITY,
    ),
    Fault(
        "the head is not saved with an adapter",
        "model/adapter_saving.py",
        "{name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}",
        "{name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items() if 'score' not in name}",
        ADAPTERS,
    ),
    Fault(
        "the head is not trained with an adapter",
        "model/adapter_config.py",
        "    kept = list(heads)\n",
        "    kept = []\n",
        ADAPTERS,
    ),
    Fault(
        "a fresh head is drawn too wide",
        "model/head.py",
        "1.0 / math.sqrt(head.in_features + 1)",
        "1.0",
        LOADING,
    ),
    Fault(
        "an existing head is drawn anew",
        "model/readers.py",
        "if stored is None:\n        if head_keys := [key for key in missing if key.startswith(HEAD_MODULES)]:",
        "if request.allow_fresh_head:\n        if head_keys := list(facts.head_keys):",
        LOADING,
    ),
    Fault(
        "the saved folder gives sigmoid(reward)",
        "model/loading.py",
        'model.config.problem_type = "regression"',
        "pass",
        ("tests/training/test_saved_folder.py",),
    ),
    # The tree
    Fault(
        "the reward is read one token early",
        "tree/batch.py",
        "sequence_ends=torch.from_numpy(plan.sequence_ends),",
        "sequence_ends=torch.from_numpy(plan.sequence_ends) - 1,",
        EQUALITY,
    ),
    Fault(
        "the padded backend reads the reward one token early",
        "model/padded.py",
        "lengths - 1]",
        "lengths - 2]",
        EQUALITY,
    ),
    Fault(
        "one branch leaks into another",
        "tree/tiled_attention.py",
        "(keys <= queries[:, None]) & (queries[:, None] < torch.from_numpy(tree.plan.exit)[keys])",
        "(keys <= queries[:, None])",
        EQUALITY,
    ),
    Fault(
        "positions count along the row instead of the path",
        "tree/batch.py",
        "position_ids=torch.from_numpy(plan.position_ids)[None],",
        "position_ids=torch.arange(plan.num_tokens)[None],",
        EQUALITY,
    ),
    # The tokens
    Fault(
        "the end-of-sequence token is dropped",
        "tokens/rendering.py",
        "return text if text.endswith(self._eos_to_append) else text + self._eos_to_append",
        "return text",
        RENDERING,
    ),
    Fault(
        "the end-of-sequence token is there twice",
        "tokens/rendering.py",
        "return text if text.endswith(self._eos_to_append) else text + self._eos_to_append",
        "return text + self._eos_to_append",
        RENDERING,
    ),
    Fault(
        "the pad token may be the end-of-sequence token",
        "tokens/loading.py",
        "if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:",
        "if tokenizer.pad_token_id is not None:",
        ("tests/tokens/test_loading.py",),
    ),
    Fault(
        "a prompt is cut from the right",
        "tokens/limits.py",
        "np.concatenate([ids[:num_leading], ids[num_leading + num_cut :]]) for ids",
        "ids[: len(ids) - num_cut] for ids",
        LIMITS,
    ),
    Fault(
        "what is too long is not counted",
        "tokens/limits.py",
        "num_comparisons_too_long=int(too_long.sum())",
        "num_comparisons_too_long=0",
        LIMITS,
    ),
    # The run
    Fault(
        "the seed is ignored in the order of the data",
        "training/sampling.py",
        "np.random.default_rng([self.seed, self.epoch])",
        "np.random.default_rng([0, self.epoch])",
        BATCHES,
    ),
    Fault(
        "every epoch has the same order",
        "training/sampling.py",
        "np.random.default_rng([self.seed, self.epoch])",
        "np.random.default_rng([self.seed])",
        BATCHES,
    ),
    Fault(
        "the last batch of an epoch is lost",
        "training/sampling.py",
        "if self.drop_last else -(-self.num_groups // together)",
        "if self.drop_last else max(1, self.num_groups // together)",
        BATCHES,
    ),
    Fault(
        "dropout is left on",
        "model/dropout.py",
        "module.p = 0.0",
        "pass",
        (*TRAINER, "-k", "dropout"),
    ),
    Fault(
        "LoRA's own dropout is turned off",
        "model/dropout.py",
        "if any(mark in name for mark in ADAPTER_MARKS):",
        "if False:",
        ADAPTERS,
    ),
    Fault(
        "a run that goes on forgets what it has seen",
        "training/counts.py",
        'saved.get("num_episodes", 0)',
        "0",
        ("tests/training/test_step.py",),
    ),
    Fault(
        "the card speaks of the last weights where the best were saved",
        "training/trainer.py",
        "            self._best_step = self.state.best_global_step\n",
        "            pass\n",
        ("tests/training/test_best_weights.py",),
    ),
    Fault(
        "a run that has ended makes another step",
        "training/trainer.py",
        "if has_ended:",
        "if False:",
        ("tests/training/test_best_weights.py",),
    ),
    Fault(
        "attributes in another order are taken",
        "training/data.py",
        "names and groups.attribute_names and groups.attribute_names != tuple(names)",
        "False",
        ("tests/training/test_objectives_learn.py", "-k", "order"),
    ),
    # Several processes, and failures
    Fault(
        "groups are dealt to processes in turn, whatever their size",
        "training/dealing.py",
        'np.argsort(-sizes, kind="stable").tolist()',
        "range(len(sizes))",
        ("tests/training/test_dealing.py",),
    ),
    Fault(
        "every process takes the first one's groups",
        "training/dealing.py",
        "mine = deal_evenly(sizes, num_processes)[process_index]",
        "mine = deal_evenly(sizes, num_processes)[0]",
        ("tests/training/test_dealing.py",),
    ),
    Fault(
        "a half-written checkpoint is gone on from",
        "training/checkpoints.py",
        "if damage is None:",
        "if True:",
        ("tests/training/test_checkpoints.py",),
    ),
    Fault(
        "a step whose loss is not finite is made",
        "training/guards.py",
        "if not answers.is_not_finite:",
        "if True:",
        ("tests/training/test_not_finite.py",),
    ),
    Fault(
        "a gradient that memory ran out in is kept",
        "training/passes.py",
        "                    model.zero_grad()\n",
        "",
        ("tests/training/test_out_of_memory.py",),
    ),
    Fault(
        "the passes before memory ran out are not repeated",
        "training/passes.py",
        "for groups in self._done]",
        "for groups in self._done[:0]]",
        ("tests/training/test_out_of_memory.py",),
    ),
    Fault(
        "a run that is told to stop saves nothing",
        "training/interruption.py",
        "        control.should_save = True\n",
        "        control.should_training_stop = True\n",
        ("tests/training/test_interruption.py",),
    ),
    Fault(
        "the fullest process counts as the mean one",
        "training/meter.py",
        "tokens_by_step.max(0).sum()",
        "tokens_by_step.mean(0).sum()",
        ("tests/training/test_meter.py",),
    ),
    # The plan
    Fault(
        "the plan divides nothing under FSDP2",
        "planning/engines.py",
        'Engine(name="fsdp2", shards_optimizer=True, shards_gradients=True, shards_weights=True)',
        'Engine(name="fsdp2", shards_optimizer=True, shards_gradients=True)',
        ("tests/planning/test_memory.py", "-k", "divide"),
    ),
    Fault(
        "the plan forgets what checkpointing computes again",
        "planning/utilisation.py",
        "_WITH_RECOMPUTATION if checkpointing else 1.0",
        "1.0",
        ("tests/planning/test_utilisation.py",),
    ),
    # Checkpoints
    Fault(
        "a value head's bias is lost",
        "model/stored_head.py",
        "torch.zeros_like(head.bias) if stored.bias is None else stored.bias",
        "torch.zeros_like(head.bias)",
        (
            "tests/model/test_formats.py",
            "-k",
            "llama",
        ),
    ),
    Fault(
        "code in a pickle is run",
        "model/tensor_files.py",
        "weights_only=True, mmap",
        "weights_only=False, mmap",
        ("tests/model/test_broken_folders.py",),
    ),
    Fault(
        "OpenRLHF's own name of the head is ignored",
        "model/head_keys.py",
        "(prefix,) if prefix else OPENRLHF_PREFIXES",
        "OPENRLHF_PREFIXES",
        (
            "tests/model/test_formats.py",
            "-k",
            "llama",
        ),
    ),
    Fault(
        "an adapter's value head stays where it is",
        "model/adapter_reading.py",
        "    place_head(model, stored, keeps_dtype=request.keeps_head_dtype)\n",
        "",
        (
            "tests/model/test_formats.py",
            "-k",
            "llama",
        ),
    ),
    Fault(
        "a bias that is kept is written as zero",
        "model/convert/value_head_file.py",
        "bias = head.written_bias if options.keeps_bias else None",
        "bias = None",
        ("tests/model/test_convert.py",),
    ),
    Fault(
        "every proof holds",
        "model/convert/proof.py",
        "return self.largest_difference <= self.tolerance",
        "return self.tolerance > 0",
        (
            "tests/model/test_convert.py",
            "-k",
            "fail_the_proof",
        ),
    ),
    Fault(
        "a converted folder gives sigmoid(reward)",
        "model/convert/configs.py",
        'new["problem_type"] = "regression"',
        'new.pop("problem_type", None)',
        (
            "tests/model/test_convert.py",
            "-k",
            "vllm",
        ),
    ),
    Fault(
        "a dropped bias shifts rewards the other way",
        "model/convert/writing.py",
        "return 0.0 - float(head.bias.double())",
        "return float(head.bias.double())",
        (
            "tests/model/test_convert.py",
            "-k",
            "proof_is_made",
        ),
    ),
    Fault(
        "what a killed conversion left stays",
        "model/convert/staging.py",
        'folder.parent.glob(f".{glob.escape(folder.name)}.part-*")',
        "[]",
        ("tests/model/test_convert_limits.py",),
    ),
    Fault(
        "a checkpoint is written with a value head, which a run cannot go on from",
        "training/trainer.py",
        'head="score" if self._is_staging else args.head',
        "head=args.head",
        ("tests/training/test_value_heads.py",),
    ),
    Fault(
        "an average counts the first weight as the last",
        "model/averaging/mean.py",
        "first * weights[0]",
        "first * weights[-1]",
        ("tests/model/test_averaging.py",),
    ),
    Fault(
        "an ensemble's worst case is its best",
        "scoring/ensemble.py",
        "return values.min(axis=0)",
        "return values.max(axis=0)",
        ("tests/scoring/test_ensemble.py",),
    ),
    Fault(
        "a calibrated probability forgets the mean",
        "model/normalization.py",
        "logit = (rewards.astype(np.float64) - self.mean) / self.temperature",
        "logit = rewards.astype(np.float64) / self.temperature",
        ("tests/model/test_normalization.py",),
    ),
    Fault(
        "a tensor is missing where a later layer of the same kind is fused",
        "model/convert/fit.py",
        "and _layer(name) not in layers_of_others",
        "and not layers_of_others",
        ("tests/model/test_convert.py", "-k", "classes_whose_tensors"),
    ),
    Fault(
        "a language head stays shorter than the embedding",
        "model/convert/language_head.py",
        "return with_new_rows(tensor, missing) if missing else tensor",
        "return tensor",
        ("tests/model/test_convert_adapters.py", "-k", "resized_vocabulary"),
    ),
    Fault(
        "attributes are added up in sixteen bits",
        "model/convert/source.py",
        "(factors @ weight.double())[None].float()",
        "(factors @ weight.double())[None].to(weight.dtype)",
        ("tests/model/test_convert.py", "-k", "sixteen_bits_are_added"),
    ),
    Fault(
        "a bias that is dropped is rounded before the shift",
        "model/convert/writing.py",
        "if head.written_bias is not None and options.keeps_bias:",
        "if head.written_bias is not None:",
        ("tests/model/test_convert.py", "-k", "shift_of_a_cast"),
    ),
    Fault(
        "an encoder keeps the random head that its class drew",
        "model/readers.py",
        "elif is_decoder(model) or missing or facts.head_weight_key",
        "elif is_decoder(model) or facts.head_weight_key",
        ("tests/model/test_formats.py", "-k", "encoder"),
    ),
    Fault(
        "an earlier save's weights stay beside the new ones",
        "model/saving.py",
        "if file.name not in written and file.is_file():",
        "if file.name in written and not file.is_file():",
        ("tests/model/test_saving_again.py",),
    ),
    Fault(
        "a model of one state dict is saved under escaped names",
        "model/reading.py",
        'vars(model).pop("_weight_conversions", None)',
        "pass",
        ("tests/model/test_formats.py", "-k", "own_names"),
    ),
)
