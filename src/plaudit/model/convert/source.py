"""A reward model taken apart without loading it: backbone, language-model head, reward head.

The backbone's tensors have the same names in every format, so a conversion between whole models moves the head and
rewrites the config; no byte of the backbone changes unless a cast or a merge is asked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import PRETRAINED_PREFIX, CheckpointFacts
from plaudit.model.convert.fit import check_backbone, check_head_width, has_linear_score
from plaudit.model.convert.output_tensor import OutputTensor, stored_tensor
from plaudit.model.reading import no_head
from plaudit.model.stored_head import read_stored_head
from plaudit.model.tensor_files import TensorFiles
from plaudit.model.tensor_names import LANGUAGE_HEADS

__all__ = [
    "Head",
    "SourceModel",
    "embedding_name",
    "plain_names",
    "read_head",
    "read_whole_model",
    "score_width",
    "skeleton",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What maps the last hidden state to the reward."""

    weight: Float[Tensor, "1 hidden"]
    bias: Float[Tensor, " 1"] | None
    """As the source has it, whatever it is cast to; None where the format has none, and it is 0."""
    bias_dtype: torch.dtype | None = None
    """What the bias is cast to where it is written; None keeps its own."""

    @property
    def written_bias(self) -> Float[Tensor, " 1"] | None:
        """The bias as a folder that keeps it holds it."""
        return self.bias if self.bias is None or self.bias_dtype is None else self.bias.to(self.bias_dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceModel:
    """A whole reward model in parts."""

    config: dict[str, Any]
    """What config.json says (of the base, where an adapter is merged)."""
    skeleton: PreTrainedModel
    """The sequence-classification class of the config, without values."""
    backbone: tuple[OutputTensor, ...]
    """Under the names of transformers."""
    language_head: tuple[OutputTensor, ...]
    """Of the causal model; empty where the source has none, or ties it to the embedding."""
    head: Head | None
    """None where the class pools in its own way, and the head is left among the backbone's tensors (encoders)."""
    notes: tuple[str, ...] = ()
    """What has to be said of it."""

    def with_notes(self, *notes: str) -> SourceModel:
        """The same with more to say."""
        return replace(self, notes=(*self.notes, *notes))


def read_whole_model(facts: CheckpointFacts, *, dtype: torch.dtype | None) -> SourceModel:
    """The parts of a whole model's folder.

    Args:
        facts: What was recognised; no adapter.
        dtype: Cast floating-point tensors to this; None keeps their bytes.

    Raises:
        PlauditError: There is no head, or transformers has no sequence-classification class for it.
    """
    if facts.config.get("quantization_config") and dtype is not None:
        raise PlauditError(
            "quantised weights cannot be cast",
            where="--dtype",
            fix="Leave it out: they are copied as they are.",
        )
    files = facts.open_tensors()
    model = skeleton(facts.path, facts.config)
    prefix = f"{model.base_model_prefix}."
    names = plain_names(files, facts, prefix)
    check_backbone(facts, files, names, model)
    notes: list[str] = []
    if not has_linear_score(model):
        tensors = tuple(stored_tensor(files, source, name, dtype=dtype) for name, source in names.items())
        return SourceModel(config=facts.config, skeleton=model, backbone=tensors, language_head=(), head=None)
    backbone, language_head, unknown = [], [], []
    for name, source in names.items():
        if source in (facts.head_weight_key, facts.head_bias_key) or name.startswith("v_head."):
            continue
        if name.startswith(prefix):
            backbone.append(stored_tensor(files, source, name, dtype=dtype))
        elif name.startswith(LANGUAGE_HEADS):
            language_head.append(stored_tensor(files, source, name, dtype=dtype))
        else:
            unknown.append(name)
    if unknown:
        notes.append(
            f"{len(unknown)} tensors belong to no part of {facts.architecture} and were left out: "
            f"{', '.join(unknown[:5])}"
        )
    head, more = read_head(facts, dtype=dtype, width=score_width(model))
    return SourceModel(
        config=facts.config,
        skeleton=model,
        backbone=tuple(backbone),
        language_head=tuple(language_head),
        head=head,
        notes=(*notes, *more),
    )


def plain_names(files: TensorFiles, facts: CheckpointFacts, prefix: str) -> dict[str, str]:
    """Names that transformers' classes with a head have, and what the tensors are called in the files.

    Args:
        files: The folder's tensors.
        facts: What was recognised.
        prefix: What the backbone's tensors begin with; bare models are saved without it.
    """
    names = {name.removeprefix(PRETRAINED_PREFIX): name for name in files.names()}
    if any(name.startswith(prefix) for name in names):
        return names
    heads = (facts.head_weight_key, facts.head_bias_key)
    return {
        name if source in heads or name.startswith(("v_head.", *LANGUAGE_HEADS)) else prefix + name: source
        for name, source in names.items()
    }


def read_head(
    facts: CheckpointFacts, *, dtype: torch.dtype | None, width: int | None = None
) -> tuple[Head, list[str]]:
    """The head of a folder as one row, and what has to be said of it.

    Several outputs whose weights in the reward are known become one: the weighted sum of linear maps is one. The sum
    stays in float32, since rounding it is not the same as rounding its parts.

    Args:
        facts: The folder.
        dtype: What the head is written in; None takes its own.
        width: The model's hidden size, where it is known.

    Raises:
        PlauditError: There is none, or it has several outputs of unknown weight, another width, or values that are
            not finite.
    """
    if facts.head_weight_key is None:
        raise no_head(facts, ["score.weight", "v_head.summary.weight"])
    stored = read_stored_head(facts)
    if width is not None:
        check_head_width(stored, width, facts.path)
    weight, bias = stored.weight, stored.bias
    notes: list[str] = []
    weights = facts.config.get("reward_weights")
    if weights is not None:
        factors = torch.tensor(weights, dtype=torch.float64)
        weight = (factors @ weight.double())[None].float()
        bias = None if bias is None else (factors @ bias.double())[None].float()
        notes.append(f"the {len(weights)} outputs were added up into one by their weights in the reward")
        return Head(weight=weight, bias=bias), notes
    return Head(weight=weight if dtype is None else weight.to(dtype), bias=bias, bias_dtype=dtype), notes


def score_width(model: PreTrainedModel) -> int:
    """The hidden size that a class's ``score`` layer reads."""
    score: Any = model.score
    return score.in_features


def skeleton(folder: Path, config: dict[str, Any]) -> PreTrainedModel:
    """The sequence-classification class of a folder's config, with one output and without values.

    Raises:
        PlauditError: transformers has none.
    """
    transformers_log = logging.getLogger("transformers")
    level = transformers_log.level
    transformers_log.setLevel(logging.ERROR)
    try:
        # Left out, it would ask on standard input whether code of the folder may run.
        settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        settings.num_labels = 1
        with torch.device("meta"):
            return AutoModelForSequenceClassification.from_config(settings, trust_remote_code=False)
    except (ValueError, KeyError, OSError, AttributeError) as error:
        kind = config.get("model_type") or "model"
        raise PlauditError(
            f"transformers has no sequence-classification class for this {kind} ({str(error).splitlines()[0]})",
            where=str(folder / "config.json"),
            fix="Check model_type, or upgrade transformers.",
        ) from error
    finally:
        transformers_log.setLevel(level)


def embedding_name(model: PreTrainedModel) -> str:
    """The full name of the input embedding's weight."""
    embedding: Any = model.get_input_embeddings()
    return next(f"{name}.weight" for name, module in model.named_modules() if module is embedding)
