"""Several outputs, one reward: a model that rates attributes says in its config how much each counts.

The head of such a model has one row per attribute (HelpSteer2, arXiv:2406.08673; ArmoRM, arXiv:2406.12845). The config
names the attributes (``id2label``) and holds their weights (``reward_weights``); the reward is the weighted sum, for
every consumer of plaudit. Plain transformers returns the attributes by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plaudit.errors import PlauditError

__all__ = ["attribute_names", "reward_of_outputs", "reward_weights", "set_attributes"]


def set_attributes(config: Any, weights: Mapping[str, float]) -> None:
    """Write A attributes and their weights into a model's config, in place."""
    config.num_labels = len(weights)
    config.id2label = dict(enumerate(weights))
    config.label2id = {name: index for index, name in enumerate(weights)}
    config.reward_weights = list(weights.values())


def reward_weights(config: Any) -> tuple[float, ...]:
    """How much each output counts in the reward: (1.0,) for an ordinary reward model.

    Raises:
        PlauditError: The model has several outputs and its config says nothing about their weights.
    """
    weights = getattr(config, "reward_weights", None)
    if weights is None and config.num_labels == 1:
        return (1.0,)
    if weights is None or len(weights) != config.num_labels:
        given = "no reward_weights" if weights is None else f"{len(weights)} reward_weights"
        raise PlauditError(
            f"the model has {config.num_labels} outputs and {given}, and a reward model has one number",
            where=str(getattr(config, "name_or_path", "") or "config.json"),
            fix="Load it with num_labels=1; or, where the outputs are attributes, put reward_weights into its config.",
        )
    return tuple(float(weight) for weight in weights)


def attribute_names(config: Any) -> tuple[str, ...]:
    """Names of the rated attributes in the order of the outputs; empty for an ordinary reward model."""
    if getattr(config, "reward_weights", None) is None:
        return ()
    return tuple(str(config.id2label[index]) for index in range(config.num_labels))


def reward_of_outputs(config: Any, outputs: Float[Tensor, "sequence output"]) -> Float[Tensor, " sequence"]:
    """The weighted sum of the outputs; for one output that output, untouched."""
    weights = reward_weights(config)
    if weights == (1.0,):
        return outputs[:, 0]
    return outputs @ torch.tensor(weights, dtype=outputs.dtype, device=outputs.device)
