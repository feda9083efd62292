"""A head as a folder holds it: read by itself, checked, and put into a model whatever name it had.

A head with a bias needs a ``score`` layer with a bias. transformers' classes have none, so it is added to the layer
that is there: the layer is called as before, the model is saved with ``score.bias``, and this module reads it back.
Plain transformers would drop it, and every reward would shift by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import CheckpointFacts
from plaudit.model.head import head_of, hold_in_float32
from plaudit.model.partitioned import gathered
from plaudit.model.reward_model import RewardModel

__all__ = ["StoredHead", "add_bias", "place_head", "read_stored_head"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredHead:
    """The linear map from the last hidden state to the outputs, as stored."""

    weight: Float[Tensor, "output hidden"]
    bias: Float[Tensor, " output"] | None
    """None where there is none, which counts as 0."""
    where: str
    """Its tensors and their file, in words."""


def read_stored_head(facts: CheckpointFacts) -> StoredHead:
    """The head of a folder that has one, and nothing else of it.

    Raises:
        PlauditError: It has several outputs of unknown weight, another shape than a head's, or values that are not
            finite.
    """
    assert facts.head_weight_key is not None
    assert facts.head_file is not None
    tensors = facts.open_tensors()
    place = f"{facts.head_file}: {facts.head_weight_key}"
    weight = tensors.tensor(facts.head_weight_key)
    weight = weight[None] if weight.dim() == 1 else weight
    bias = None if facts.head_bias_key is None else tensors.tensor(facts.head_bias_key).reshape(-1)
    if weight.dim() != 2 or (bias is not None and len(bias) != len(weight)):
        shapes = [list(part.shape) for part in (weight, bias) if part is not None]
        raise PlauditError(
            f"no head has the shape {' with a bias '.join(map(str, shapes))}",
            where=place,
            fix="A head is [1, hidden size] with or without a bias [1]; name another tensor: --head-key NAME.",
        )
    _require_outputs(facts, len(weight))
    for name, part in (("weight", weight), ("bias", bias)):
        if part is not None and not torch.isfinite(part.float()).all():
            num = int((~torch.isfinite(part.float())).sum())
            raise PlauditError(
                f"the head's {name} holds {num} values that are not finite, so every reward would be NaN",
                where=place,
                fix="The training diverged or the file is damaged: take an earlier checkpoint, or copy it again.",
            )
    keys = " and ".join(key for key in (facts.head_weight_key, facts.head_bias_key) if key)
    return StoredHead(weight=weight, bias=bias, where=f"{keys} in {facts.head_file.name}")


def place_head(model: RewardModel, stored: StoredHead, *, keeps_dtype: bool = False) -> None:
    """Put a stored head into a model, in place.

    Args:
        model: Loaded, with a linear head of any values.
        stored: What goes in.
        keeps_dtype: Keep a float32 head so in a model of 16 bits, as value heads are computed.

    Raises:
        PlauditError: It does not fit the model's hidden size, or the model's head is no linear layer.
    """
    head = head_of(model)
    if not isinstance(head, nn.Linear):
        raise PlauditError(
            f"{type(model).__name__} pools in its own way, and a linear head by itself does not fit it",
            where="--head-key",
            fix="Give a checkpoint whose head has transformers' own names.",
        )
    if tuple(stored.weight.shape) != (head.out_features, head.in_features):
        raise PlauditError(
            f"the head reads {stored.weight.shape[1]} numbers, and the model's hidden size is {head.in_features}",
            where=stored.where,
            fix="The head is of another model than the weights; copy both again.",
        )
    if keeps_dtype and stored.weight.dtype == torch.float32:
        hold_in_float32(head)
    if stored.bias is not None:
        add_bias(head)
    with torch.no_grad(), gathered(head.parameters(), is_changed=True):
        head.weight.copy_(stored.weight)
        if head.bias is not None:
            head.bias.copy_(torch.zeros_like(head.bias) if stored.bias is None else stored.bias)


def add_bias(head: nn.Linear) -> None:
    """Give a linear layer a bias of zeros, in place, where it has none."""
    if head.bias is None:
        weight = head.weight
        zeros = torch.zeros(head.out_features, dtype=weight.dtype, device=weight.device)
        head.bias = nn.Parameter(zeros, requires_grad=weight.requires_grad)


def _require_outputs(facts: CheckpointFacts, num_outputs: int) -> None:
    if num_outputs == 1:
        return
    weights = facts.config.get("reward_weights")
    if weights is not None and len(weights) == num_outputs:
        return
    raise PlauditError(
        f"the head {facts.head_weight_key} has {num_outputs} outputs, and a reward model has one",
        where=str(facts.path),
        fix="This is a classifier. Train a reward model from its base instead.",
    )
