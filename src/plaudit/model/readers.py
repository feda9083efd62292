"""How the formats with all weights in one folder are read; never with a random head in silence.

All of them become the sequence-classification class of their config: a causal model's tensors have the same names
there, and its language-model head is not read. What differs is where the head is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from plaudit.errors import PlauditError
from plaudit.model.head import draw_head, head_of
from plaudit.model.normalization import find_normalization
from plaudit.model.padded import is_decoder
from plaudit.model.reading import (
    HEAD_MODULES,
    LoadedRewardModel,
    ReadRequest,
    model_from_pretrained,
    no_head,
)
from plaudit.model.reward_model import RewardModel
from plaudit.model.stored_head import place_head, read_stored_head

__all__ = [
    "WHOLE_READERS",
    "read_headless",
    "read_openrlhf",
    "read_sequence_classification",
    "read_token_classification",
    "read_value_head",
]


def read_sequence_classification(request: ReadRequest) -> LoadedRewardModel:
    """A model of transformers' sequence classification, or one of another class with such a head."""
    facts = request.facts
    # Its errors come before the whole model is loaded.
    stored = None if facts.head_weight_key is None else read_stored_head(facts)
    model, missing = model_from_pretrained(request)
    where = ", ".join(facts.head_keys)
    if stored is None:
        if head_keys := [key for key in missing if key.startswith(HEAD_MODULES)]:
            if not request.allow_fresh_head:
                raise no_head(facts, head_keys)
            return _with_fresh_head(request, model)
    # transformers passes over the bias of a decoder's head and rounds it with the backbone, and does not know the
    # name of --head-key. An encoder's head that was found whole is in its place.
    elif is_decoder(model) or missing or facts.head_weight_key not in dict(model.named_parameters()):
        place_head(model, stored, keeps_dtype=request.keeps_head_dtype)
        where = stored.where
        if stored.bias is None and (biases := [key for key in missing if key.endswith(".bias")]):
            where += f"; {', '.join(biases)} is not in the files and counts as 0"
    kind = facts.architecture or "no class named"
    return LoadedRewardModel(
        model=model, has_fresh_head=False, origin=f"sequence classification ({kind}), head from {where}"
    )


def read_value_head(request: ReadRequest) -> LoadedRewardModel:
    """A causal model with TRL's value head: its reward is ``v_head.summary(hidden)`` at the last token.

    The hidden state is the one after the final norm. TRL's dropout before the head is active in training alone, and
    is left out. A head without a bias in its file counts as one with a bias of 0.

    Source: TRL, ``models/modeling_value_head.py``; LLaMA-Factory, ``model/model_utils/valuehead.py``.
    """
    one_file = ", one state dict" if request.facts.format == "value-head-one-file" else ""
    return _with_stored_head(request, f"value head ({request.facts.architecture}{one_file})")


def read_openrlhf(request: ReadRequest) -> LoadedRewardModel:
    """OpenRLHF's reward model: one output whatever its config says, the head under the name that the config gives.

    Source: OpenRLHF, ``openrlhf/models/model.py``, ``_get_reward_model``; OpenRLHF#1039 for the outputs.
    """
    facts = request.facts
    if facts.head_weight_key is None:
        if not request.allow_fresh_head:
            raise no_head(facts, [f"{facts.config.get('value_head_prefix') or 'score'}.weight"])
        return _with_fresh_head(request, model_from_pretrained(request)[0])
    loaded = _with_stored_head(request, f"OpenRLHF ({facts.architecture or 'no class named'})")
    if "value_head_prefix" in facts.config:
        loaded.model.config.value_head_prefix = "score"  # where it is now, and will be saved
    known = find_normalization(None, facts.config)
    return dataclasses.replace(loaded, normalization=None if known is None else (known.mean, known.std))


def read_token_classification(request: ReadRequest) -> LoadedRewardModel:
    """A token classifier with one label (LLaMA-Factory v1): its output at the last token; decoders alone."""
    if request.facts.head_weight_key is None:
        raise no_head(request.facts, ["score.weight", "classifier.weight"])
    return _with_stored_head(request, f"token classification ({request.facts.architecture})")


def read_headless(request: ReadRequest) -> LoadedRewardModel:
    """A causal or bare model, which gets a fresh head where it may."""
    if not request.allow_fresh_head:
        raise no_head(request.facts, ["score.weight"])
    model, _ = model_from_pretrained(request)
    return _with_fresh_head(request, model)


def _with_stored_head(request: ReadRequest, kind: str) -> LoadedRewardModel:
    stored = read_stored_head(request.facts)
    if request.attributes and len(stored.weight) != len(request.attributes):
        raise PlauditError(
            f"the head has {len(stored.weight)} output, and {len(request.attributes)} attributes were asked for",
            where=request.source,
            fix="Leave the attributes out, or start from a model without a head.",
        )
    model, _ = model_from_pretrained(request, needs_decoder=True)
    place_head(model, stored, keeps_dtype=request.keeps_head_dtype)
    return LoadedRewardModel(model=model, has_fresh_head=False, origin=f"{kind}, head from {stored.where}")


def _with_fresh_head(request: ReadRequest, model: RewardModel) -> LoadedRewardModel:
    head = head_of(model)
    if isinstance(head, torch.nn.Linear):
        draw_head(head, seed=request.seed)
    kind = request.facts.architecture or "a model"
    origin = f"{kind} without a reward head; a fresh one was drawn (seed {request.seed})"
    return LoadedRewardModel(model=model, has_fresh_head=True, origin=origin)


WHOLE_READERS: dict[str, Callable[[ReadRequest], LoadedRewardModel]] = {
    "sequence-classification": read_sequence_classification,
    "headless": read_headless,
    "value-head": read_value_head,
    "value-head-one-file": read_value_head,
    "openrlhf": read_openrlhf,
    "token-classification": read_token_classification,
}
"""How each format without an adapter is read."""
