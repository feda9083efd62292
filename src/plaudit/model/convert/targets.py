"""What a reward model can be converted to, and which choices go together."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from plaudit.errors import PlauditError, unknown_choice
from plaudit.model.checkpoint import CheckpointFacts
from plaudit.model.convert.shards import DEFAULT_SHARD_BYTES

__all__ = ["BIASES", "TARGETS", "VALUE_HEAD_FORMATS", "ConversionOptions", "check_options", "check_source"]

TARGETS = {
    "sequence-classification": "what transformers, vLLM, SGLang and TRL read: one output, the raw reward",
    "value-head": "what LLaMA-Factory and TRL's older trainers read: a causal model with a value head beside it",
    "openrlhf": "what OpenRLHF reads",
    "adapter": "an adapter of peft for sequence classification, from an adapter with a value head",
}
"""Formats that are written, with their readers."""

BIASES = ("keep", "drop")
VALUE_HEAD_FORMATS = ("safetensors", "bin")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionOptions:
    """What to write."""

    to: str
    """One of `TARGETS`."""
    dtype: torch.dtype | None = None
    """Cast all weights to this; None keeps every tensor's own."""
    bias: str | None = None
    """``keep`` or ``drop`` a head's bias; None keeps it where every reader of the format adds it."""
    merge_adapter: bool = False
    """Merge an adapter into its base's weights."""
    max_shard_bytes: int = DEFAULT_SHARD_BYTES
    """The largest weight file."""
    value_head_format: str = "safetensors"
    """The value head's file: one of `VALUE_HEAD_FORMATS`."""
    language_head_from: str | None = None
    """A causal model whose language-model head goes beside a value head, where the source has none."""

    @property
    def keeps_bias(self) -> bool:
        """Whether the head's bias is written.

        Plain transformers passes a bias of ``score`` over in silence, so by default it is dropped there, and the
        shift is said: then everybody computes the same reward.
        """
        return self.bias == "keep" if self.bias is not None else self.to == "value-head"


def check_options(options: ConversionOptions) -> None:
    """Raise what is wrong with the options themselves.

    Raises:
        PlauditError: An unknown choice, or two that do not go together.
    """
    if options.to not in TARGETS:
        raise unknown_choice("--to", options.to, tuple(TARGETS))
    if options.bias not in (None, *BIASES):
        raise unknown_choice("--bias", options.bias, BIASES)
    if options.value_head_format not in VALUE_HEAD_FORMATS:
        raise unknown_choice("--value-head-format", options.value_head_format, VALUE_HEAD_FORMATS)
    if options.max_shard_bytes < 1:
        raise PlauditError(
            f"{options.max_shard_bytes} bytes", where="--shard-size", fix="Give a size such as 5GB."
        )
    if options.to == "openrlhf" and options.bias == "keep":
        raise PlauditError(
            "the head of OpenRLHF's format has no bias",
            where="--bias keep",
            fix="Leave it out: the report says by how much every reward shifts; margins stay.",
        )
    if options.to == "adapter" and options.merge_adapter:
        raise PlauditError(
            "an adapter cannot be merged and stay an adapter",
            where="--merge-adapter",
            fix="Leave it out, or convert to sequence-classification.",
        )


def check_source(facts: CheckpointFacts, options: ConversionOptions) -> None:
    """Raise what keeps this folder from becoming that format.

    Raises:
        PlauditError: There is no head, or no adapter, or the adapter has to be merged first.
    """
    where = str(facts.path)
    if facts.format == "headless":
        raise PlauditError(
            f"{facts.architecture or 'this model'} has no reward head, so there is nothing to convert",
            where=where,
            fix="Train a reward model from it (plaudit train), or name its head: --head-key NAME.",
        )
    if options.to == "adapter" and not facts.is_adapter:
        raise PlauditError(
            f"a whole model ({facts.format}) has no adapter that could be taken out of it",
            where=where,
            fix="Convert to sequence-classification, value-head or openrlhf.",
        )
    if options.merge_adapter and not facts.is_adapter:
        raise PlauditError(
            f"there is no adapter to merge ({facts.format})", where=where, fix="Leave --merge-adapter out."
        )
    if (
        facts.is_adapter
        and not options.merge_adapter
        and options.to in ("sequence-classification", "openrlhf")
    ):
        raise PlauditError(
            f"an adapter is not a whole model, and {options.to} is one",
            where=where,
            fix="Merge it into its base: --merge-adapter. Or keep it an adapter: --to adapter, --to value-head.",
        )
