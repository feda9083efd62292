"""RewardConfig: transformers' TrainingArguments, and what a reward model adds to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from transformers import TrainingArguments
from transformers.utils import is_torch_bf16_gpu_available

from plaudit.errors import PlauditError, unknown_choice
from plaudit.model import ATTENTION_CHOICES
from plaudit.model.convert import VALUE_HEAD_FORMATS
from plaudit.objective import OBJECTIVES, Mixture, choose_objective
from plaudit.objective.choice import parse_weights
from plaudit.training.fp8 import fp8_problems
from plaudit.training.kernels import liger_problems, liger_settings
from plaudit.training.parallel import (
    PARALLEL,
    engine_settings,
    parallel_problems,
    prepare_environment,
    start_deepspeed,
)
from plaudit.training.sampling import SAMPLING

__all__ = ["RewardConfig"]

ON_OVERLENGTH = ("drop", "truncate-prompt", "error")
TRANSCRIPTS = ("auto", "messages", "text")
RENDER = ("auto", "chat", "text")
HEADS = ("score", "value")


def option(default: Any, description: str) -> Any:
    """A field whose description becomes its ``--help``."""
    return field(default=default, metadata={"help": description})


@dataclass
class RewardConfig(TrainingArguments):
    """Everything that decides a training run. Fields of TRL's RewardConfig keep their meaning and default."""

    # Where TRL's defaults differ from TrainingArguments', they are TRL's.
    learning_rate: float = option(1e-4, "Peak learning rate.")
    logging_steps: float = option(10, "Log every so many optimiser steps (below 1: a share of all steps).")
    gradient_checkpointing: bool = option(
        True, "Recompute activations in the backward pass: less memory, about a fifth more time."
    )
    bf16: bool | None = option(None, "bfloat16 autocast; on where the device can, unless fp16 is on.")
    logging_nan_inf_filter: bool = option(
        False, "Wait for the device at every batch to leave NaN out of the log; a NaN ends the run anyway."
    )
    remove_unused_columns: bool = option(False, "Has no effect: columns are read when groups are built.")

    max_length: int | None = option(
        1024, "Longest sequence (prompt and completion), in tokens; none: no limit."
    )
    max_prompt_length: int | None = option(None, "Longest prompt, in tokens.")
    on_overlength: str = option(
        "drop",
        "What becomes of a completion that is too long: drop (with its comparisons), truncate-prompt "
        "(cut the prompt from the left, the completion stays whole), or error.",
    )
    render: str = option(
        "auto",
        "chat (the tokenizer's template), text (plus end of sequence), or auto: chat where there is one.",
    )
    transcripts: str = option(
        "auto",
        'What "\\n\\nHuman: ...\\n\\nAssistant: ..." data become: messages, text (as it stands), or auto: '
        "messages where the model has a chat template.",
    )
    eos_token: str | None = option(None, "End-of-sequence token, if not the tokenizer's own.")
    chat_template_path: str | None = option(
        None, "A file with the chat template, or a tokenizer's folder or hub id."
    )
    attention: str = option("auto", f"Attention backend: {', '.join(ATTENTION_CHOICES)}.")
    max_tokens_per_pass: int | None = option(
        None, "Bound memory: split a batch into passes of so many computed tokens; the step stays the same."
    )
    pad_to_multiple_of: int | str | None = option(
        "auto", "Padded rows get a multiple of so many tokens (backend padded only: a tree has no padding)."
    )
    activation_offloading: bool = option(
        False, "Keep activations in the host's memory until the backward pass."
    )
    fp8: bool = option(
        False, "Multiply in 8-bit floating point while training (torchao; GPUs from Ada and Hopper on)."
    )
    disable_dropout: bool = option(True, "Turn the model's dropout off (LoRA's own stays).")

    parallel: str | None = option(
        None,
        "How several processes share the work: ddp, fsdp2, zero1, zero2 or zero3 (those from fsdp2 on divide the "
        "optimiser's state, the gradients, the weights); none: ddp, or what accelerate launch was configured for.",
    )

    objective: None | str | list[str] = option(  # noqa: RUF036
        "bradley-terry",
        f"What is learnt: {', '.join(OBJECTIVES)}. Several, added by weight: bradley-terry regression=0.5.",
    )
    center_rewards_coefficient: float | None = option(
        None,
        "Weight of (reward(better) + reward(worse))^2, which pulls rewards to mean 0 (arXiv:2312.09244); 0.01.",
    )
    average_per_prompt: bool = option(
        False, "Average the comparisons of a group, so that each group counts once (InstructGPT)."
    )
    tie_probability: float = option(
        1 / 3, "Objectives with ties (rao-kupper, davidson): chance of a tie between equal rewards."
    )
    rating_range: list[float] | None = option(
        None, "Lowest and highest rating of the data; binary-cross-entropy maps them to 0 and 1."
    )
    attributes: None | str | list[str] = option(  # noqa: RUF036
        None,
        "Rated attributes for the objective attributes, with their weights in the reward: "
        "helpfulness=0.65 correctness=0.8 verbosity=-0.4.",
    )

    head: str = option(
        "score",
        "score (transformers' sequence classification), or value: a head with a bias, saved as LLaMA-Factory and TRL "
        "read it (value_head.safetensors beside a causal model or an adapter); checkpoints are score in both.",
    )
    head_key: str | None = option(
        None, "The name of the head's weight in the model's files, where it is an unusual one."
    )
    value_head_format: str = option("safetensors", "File of a value head: safetensors or bin.")

    use_peft: bool = option(False, "Train an adapter (LoRA) and the head instead of all weights.")
    lora_r: int = option(16, "Rank of the adapter.")
    lora_alpha: int = option(32, "Scale of the adapter: alpha / r.")
    lora_dropout: float = option(0.05, "Dropout of the adapter.")
    lora_target_modules: None | str | list[str] = option(  # noqa: RUF036
        None, "Layers that get an adapter; none: all linear layers but the head."
    )
    use_rslora: bool = option(False, "Scale by alpha / sqrt(r) (arXiv:2312.03732).")
    use_dora: bool = option(False, "Split weights into magnitude and direction (DoRA, arXiv:2402.09353).")
    load_in_8bit: bool = option(False, "Quantise the frozen weights to 8 bits (bitsandbytes).")
    load_in_4bit: bool = option(
        False, "Quantise the frozen weights to 4 bits, nf4 (QLoRA, arXiv:2305.14314)."
    )
    merge_adapter: bool = option(
        False, "Save the final model with the adapter merged into its weights; checkpoints keep the adapter."
    )
    model_init_kwargs: dict[str, Any] | str | None = option(
        None, "Arguments of from_pretrained, as JSON, when the model is given by name."
    )
    trust_remote_code: bool = option(False, "Run modelling code that comes with the checkpoint.")
    dataset_num_proc: int | None = option(None, "Processes that tokenise.")
    pad_token: str | None = option(None, "Padding token; better set in the tokenizer.")
    profile: bool = option(
        False, "Write a trace of a few steps, and a table of where their time went, into the run's folder."
    )
    num_sample_rows: int = option(4, "Sample comparisons shown at each evaluation; 0: none.")

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*TrainingArguments._VALID_DICT_FIELDS, "model_init_kwargs"]

    def __post_init__(self) -> None:
        if self.bf16 is None:
            # Where there is no device for it, transformers refuses bf16 unless the CPU is asked for by name.
            self.bf16 = not self.fp16 and (self.use_cpu or is_torch_bf16_gpu_available())
        problems = self._problems() + self._objective_problems() + self._kernel_problems()
        if problems:
            raise PlauditError(
                "; ".join(str(problem) for problem in problems),
                where=f"{len(problems)} settings" if len(problems) > 1 else None,
            )
        self._set_engine()
        if self.run_name is None and self.output_dir is not None:
            # Without a name trackio opens a second run for an evaluation after training.
            self.run_name = Path(self.output_dir).absolute().name
        # transformers 5.23 gave the field a new name; scripts and TRL say the old one, which would be a warning.
        if getattr(self, "activation_checkpointing", False) is None:
            self.activation_checkpointing = self.gradient_checkpointing
        super().__post_init__()
        if self.deepspeed:
            start_deepspeed()

    def _set_engine(self) -> None:
        """Ask for the engine that ``parallel`` names, on the devices that there are."""
        self.use_cpu = prepare_environment(self.parallel, use_cpu=self.use_cpu)
        if self.parallel is not None:
            for name, value in engine_settings(self.parallel, fsdp_config=self.fsdp_config).items():
                setattr(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but the token, since ``training_args.bin`` is pushed to the hub."""
        return {**self.__dict__, "hub_token": None}

    @property
    def seed_of_data(self) -> int:
        """``data_seed``, or ``seed`` where that is not given."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def n_gpu(self) -> int:
        """GPUs of this process: one at most, since a tree is not divided over several (``nn.DataParallel``)."""
        return min(super().n_gpu, 1)

    @property
    def row_multiple(self) -> int | None:
        """``pad_to_multiple_of`` as a number; None where rows are padded to the longest only."""
        return None if self.pad_to_multiple_of in (None, "auto") else int(self.pad_to_multiple_of)

    def attribute_weights(self) -> dict[str, float] | None:
        """Rated attributes and how much each counts in the reward; None where none are asked for."""
        return parse_weights(_words(self.attributes), where="--attributes") if self.attributes else None

    def chosen_objective(self) -> Mixture:
        """What ``--objective`` and its settings mean.

        Raises:
            PlauditError: One of them cannot be.
        """
        return choose_objective(
            parse_weights(_words(self.objective), where="--objective"),
            label_smoothing=self.label_smoothing_factor,
            center_rewards_coefficient=self.center_rewards_coefficient,
            average_per_prompt=self.average_per_prompt,
            tie_probability=self.tie_probability,
            rating_range=self.rating_range,
        )

    def _problems(self) -> list[PlauditError]:
        """Every setting that cannot be, so that all are reported together."""
        problems: list[PlauditError] = []
        for name, choices in (
            ("on_overlength", ON_OVERLENGTH),
            ("render", RENDER),
            ("transcripts", TRANSCRIPTS),
            ("attention", ATTENTION_CHOICES),
            ("train_sampling_strategy", SAMPLING),
            ("parallel", (None, *PARALLEL)),
            ("head", HEADS),
            ("value_head_format", VALUE_HEAD_FORMATS),
        ):
            if getattr(self, name) not in choices:
                known = tuple(choice for choice in choices if choice is not None)
                problems.append(unknown_choice(_flag(name), getattr(self, name), known))
        if self.parallel in PARALLEL:
            problems += parallel_problems(
                self.parallel,
                deepspeed=self.deepspeed,
                fsdp=self.fsdp,
                is_quantized=self.load_in_4bit or self.load_in_8bit,
            )
        if self.save_only_model and self.parallel in ("fsdp2", "zero3"):
            what = f"under {self.parallel} a checkpoint's weights are in the shards that it leaves out"
            problems.append(PlauditError(what, where="--save-only-model", fix="Leave it out."))
        if isinstance(self.pad_to_multiple_of, str) and self.pad_to_multiple_of.isdecimal():
            self.pad_to_multiple_of = int(self.pad_to_multiple_of)
        if self.pad_to_multiple_of in ("none", "null"):
            self.pad_to_multiple_of = None
        if isinstance(self.pad_to_multiple_of, str) and self.pad_to_multiple_of != "auto":
            problems.append(
                PlauditError(
                    f"{self.pad_to_multiple_of!r}",
                    where="--pad-to-multiple-of",
                    fix="Give a number, auto or none.",
                )
            )
        for name in ("max_length", "max_prompt_length", "max_tokens_per_pass"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(
                    PlauditError(f"{value} tokens", where=_flag(name), fix="Give a number above 0, or none.")
                )
        if self.max_length and self.max_prompt_length and self.max_prompt_length >= self.max_length:
            problems.append(
                PlauditError(
                    f"{self.max_prompt_length} tokens leave no room for a completion in {self.max_length}",
                    where="--max-prompt-length",
                    fix="Make it smaller than --max-length.",
                )
            )
        return problems

    def _kernel_problems(self) -> list[PlauditError]:
        """What is wrong with the settings of kernels; a language model's loss is taken out of Liger's."""
        problems: list[PlauditError] = []
        if self.fp8:
            problems += fp8_problems(
                is_deepspeed=bool(self.deepspeed) or str(self.parallel).startswith("zero"),
                is_quantized=self.load_in_4bit or self.load_in_8bit,
                use_cpu=self.use_cpu,
            )
        if not self.use_liger_kernel:
            return problems
        try:
            given = self.liger_kernel_config
            self.liger_kernel_config = liger_settings(json.loads(given) if isinstance(given, str) else given)
        except PlauditError as problem:
            problems.append(problem)
        return [*liger_problems(use_cpu=self.use_cpu), *problems]

    def _objective_problems(self) -> list[PlauditError]:
        """What is wrong with the objective's settings."""
        problems: list[PlauditError] = []
        for name, low, high in (("tie_probability", 0.0, 1.0), ("label_smoothing_factor", -1e-9, 0.5)):
            value = getattr(self, name)
            if not low < value < high:
                fix = f"Give a number above {max(low, 0):g} and below {high:g}."
                problems.append(PlauditError(f"{value}", where=_flag(name), fix=fix))
        if self.rating_range is not None and not (
            len(self.rating_range) == 2 and self.rating_range[0] < self.rating_range[1]
        ):
            problems.append(
                PlauditError(
                    f"{self.rating_range}", where="--rating-range", fix="Give the lowest and the highest."
                )
            )
        try:
            names = parse_weights(_words(self.objective), where="--objective")
            self.attribute_weights()
            self.chosen_objective()
        except PlauditError as problem:
            return [*problems, problem]
        if not names:
            problems.append(
                PlauditError("there is none", where="--objective", fix="Name one: bradley-terry.")
            )
        for name, factor in names.items():
            if factor <= 0:
                problem = PlauditError(
                    f"{name}={factor:g}", where="--objective", fix="Give a weight above 0."
                )
                problems.append(problem)
        if ("attributes" in names) != bool(self.attributes):
            fix = "Give both: --objective attributes --attributes helpfulness=0.65 correctness=0.8"
            problems.append(
                PlauditError("--objective attributes needs --attributes, and the reverse", fix=fix)
            )
        if self.attributes and self.head == "value":
            problems.append(
                PlauditError(
                    "a value head has one output, and attributes one each",
                    where="--head value",
                    fix="Train with --head score.",
                )
            )
        if "attributes" in names and len(names) > 1:
            problems.append(
                PlauditError(
                    "attributes have an output each, and other objectives one reward",
                    where="--objective",
                    fix="Train on attributes alone.",
                )
            )
        return problems


def _words(value: str | list[str] | Mapping[str, float] | None) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}={weight}" for name, weight in value.items()]
    return value.split() if isinstance(value, str) else list(value or ())


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
