"""RewardConfig: transformers' TrainingArguments, and what a reward model adds to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from transformers import TrainingArguments
from transformers.utils import is_torch_bf16_gpu_available

from plaudit.errors import PlauditError, unknown_choice
from plaudit.model import ATTENTION_CHOICES

__all__ = ["RewardConfig"]

ON_OVERLENGTH = ("drop", "truncate-prompt", "error")
SAMPLING = ("random", "sequential")
TRANSCRIPTS = ("auto", "messages", "text")
RENDER = ("auto", "chat", "text")
OBJECTIVES = (
    "bradley-terry",
    "rao-kupper",
    "davidson",
    "plackett-luce",
    "regression",
    "binary-cross-entropy",
    "attributes",
)


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
        None, "A file with the chat template, or a folder with a tokenizer."
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
    disable_dropout: bool = option(True, "Turn the model's dropout off (LoRA's own stays).")

    objective: list[str] = field(
        default_factory=lambda: ["bradley-terry"],
        metadata={
            "help": f"What is learnt: {', '.join(OBJECTIVES)}. Several are added by weight: bradley-terry regression=0.5."
        },
    )
    center_rewards_coefficient: float | None = option(
        None,
        "Weight of (reward(better) + reward(worse))^2, which pulls rewards to mean 0 (arXiv:2312.09244); 0.01.",
    )
    average_per_prompt: bool = option(
        False, "Average the comparisons of a group, so that each prompt counts once (InstructGPT)."
    )
    tie_probability: float = option(
        1 / 3, "Objectives with ties (rao-kupper, davidson): chance of a tie between equal rewards."
    )
    rating_range: list[float] | None = field(
        default=None,
        metadata={
            "help": "Lowest and highest rating of the data; binary-cross-entropy maps them to 0 and 1."
        },
    )
    attributes: list[str] | None = field(
        default=None,
        metadata={
            "help": "Rated attributes for the objective attributes, with their weights in the reward: "
            "helpfulness=0.65 correctness=0.8 verbosity=-0.4."
        },
    )

    use_peft: bool = option(False, "Train an adapter (LoRA) and the head instead of all weights.")
    lora_r: int = option(16, "Rank of the adapter.")
    lora_alpha: int = option(32, "Scale of the adapter: alpha / r.")
    lora_dropout: float = option(0.05, "Dropout of the adapter.")
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "Layers that get an adapter; none: all linear layers but the head."}
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
    num_sample_rows: int = option(4, "Sample comparisons shown at each evaluation; 0: none.")

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*TrainingArguments._VALID_DICT_FIELDS, "model_init_kwargs"]

    def __post_init__(self) -> None:
        if self.bf16 is None:
            # Where there is no device for it, transformers refuses bf16 unless the CPU is asked for by name.
            self.bf16 = not self.fp16 and (self.use_cpu or is_torch_bf16_gpu_available())
        problems = list(self._problems())
        if problems:
            raise PlauditError(
                "; ".join(str(problem) for problem in problems),
                where=f"{len(problems)} settings" if len(problems) > 1 else None,
            )
        # transformers 5.23 gave the field a new name; scripts and TRL say the old one, which would be a warning.
        if getattr(self, "activation_checkpointing", False) is None:
            self.activation_checkpointing = self.gradient_checkpointing
        super().__post_init__()

    def _problems(self) -> list[PlauditError]:
        """Every setting that cannot be, so that all are reported together."""
        problems: list[PlauditError] = []
        for name, choices in (
            ("on_overlength", ON_OVERLENGTH),
            ("render", RENDER),
            ("transcripts", TRANSCRIPTS),
            ("attention", ATTENTION_CHOICES),
            ("train_sampling_strategy", SAMPLING),
        ):
            if getattr(self, name) not in choices:
                problems.append(unknown_choice(_flag(name), getattr(self, name), choices))
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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
