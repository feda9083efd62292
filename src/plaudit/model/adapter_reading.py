"""Reading an adapter folder: its base, the adapter on it, and a head that is never random in silence.

A folder that plaudit wrote holds ``config.json`` too: what the model is once the adapter is on it (outputs and their
weights, size of the vocabulary, pad token, precision, quantisation). Folders of peft and TRL lack it and are read by
their tensors. A value head beside an adapter (LLaMA-Factory with LoRA) is put on the base before the adapter is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaudit.errors import PlauditError
from plaudit.model.adapter import adapter_weights, require_peft, wrap
from plaudit.model.adapter_base import read_base, read_peft_config
from plaudit.model.adapter_config import head_module_names
from plaudit.model.checkpoint import OPENRLHF_FIELDS, CheckpointFacts
from plaudit.model.head import head_of
from plaudit.model.normalization import find_normalization, is_openrlhf
from plaudit.model.reading import POOLER, LoadedRewardModel, ReadRequest, grow_embedding, no_head
from plaudit.model.reward_model import RewardModel
from plaudit.model.stored_head import StoredHead, add_bias, place_head, read_stored_head
from plaudit.model.tensor_names import LANGUAGE_HEADS, PEFT_PREFIX, peft_name

__all__ = ["read_adapter"]

BESIDE_THE_BACKBONE = (*LANGUAGE_HEADS, "v_head.")
"""What an adapter of a causal model can hold: no reward depends on the language model's head, and a value head is read
by itself."""


def read_adapter(request: ReadRequest) -> LoadedRewardModel:
    """The base that the adapter names, with the adapter on it and the head that was saved with it.

    Raises:
        PlauditError: The base is not there, the head is in neither, or the adapter does not fit the base.
    """
    require_peft("a model with an adapter")
    folder, facts = request.facts.path, request.facts
    stored = None if facts.head_weight_key is None else read_stored_head(facts)
    config = read_peft_config(folder)
    base = read_base(request, config)
    weights = _read_weights(folder)
    model = base.model
    _resize_embedding(model, facts, weights)
    placed = None
    if stored is not None:
        placed = _place_on_base(model, stored, facts, weights, request, is_base_fresh=base.has_fresh_head)
    head = [f"{PEFT_PREFIX}{name}" for name in _head_parameters(model)]
    is_head_wrapped = any(_is_adapter_of_head(key, model) for key in weights)
    has_head = placed is None and not is_head_wrapped and all(name in weights for name in head)
    is_fresh = base.has_fresh_head and not has_head and placed is None
    if is_fresh and (is_head_wrapped or not request.allow_fresh_head):
        raise no_head(facts, head)
    _set_up(config, model, for_training=request.for_training, is_head_wrapped=is_head_wrapped)
    peft_model = wrap(model, config)
    _load_weights(peft_model, weights, keeps_base_head=not has_head, folder=folder)
    _follow_config(model, facts.config)
    known = find_normalization(None, facts.config)
    name = config.base_model_name_or_path
    where = ", ".join(head) if has_head else "a fresh draw" if is_fresh else "the base"
    return LoadedRewardModel(
        model=model.eval(),
        has_fresh_head=is_fresh,
        origin=f"{config.peft_type.value} adapter on {name}, head from {placed or where}",
        peft_model=peft_model.eval(),
        normalization=None if known is None else (known.mean, known.std),
    )


def _place_on_base(
    model: RewardModel,
    stored: StoredHead,
    facts: CheckpointFacts,
    weights: dict[str, Tensor],
    request: ReadRequest,
    *,
    is_base_fresh: bool,
) -> str | None:
    """Put a head that peft would not find onto the base, and take it from the adapter's tensors, in place.

    Returns:
        Where that head came from, in words. None for one under peft's own name: it stays among the adapter's tensors,
        and only the bias that it may have gets its place in the base.
    """
    ispeft_name = facts.format == "adapter" and facts.head_weight_key is not None
    if ispeft_name and peft_name(facts.head_weight_key or "") in {
        f"{PEFT_PREFIX}{name}" for name in _head_parameters(model)
    }:
        head = head_of(model)
        if stored.bias is not None and isinstance(head, torch.nn.Linear):
            add_bias(head)
        return None
    if is_base_fresh and any(name.startswith(POOLER) for name, _ in model.named_parameters()):
        raise no_head(
            facts, [f"{PEFT_PREFIX}{name}" for name in _head_parameters(model)]
        )  # its pooler is random
    place_head(model, stored, keeps_dtype=request.keeps_head_dtype)
    for key in (facts.head_weight_key, facts.head_bias_key):
        weights.pop(peft_name(key or ""), None)
    return stored.where


# The adapter -------------------------------------------------------------------------------------------------


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors; heads under the name that today's peft gives them."""
    from peft.utils.save_and_load import load_peft_weights

    files = ("adapter_model.safetensors", "adapter_model.bin")
    if not any((folder / file).is_file() for file in files):
        raise PlauditError(
            f"no weights of the adapter (looked for {' and '.join(files)})",
            where=str(folder),
            fix="Copy the whole folder.",
        )
    weights = load_peft_weights(str(folder), device="cpu")
    return {
        peft_name(name): tensor
        for name, tensor in weights.items()
        if ".original_module." not in name
        and not name.removeprefix(PEFT_PREFIX).startswith(BESIDE_THE_BACKBONE)
    }


def _head_parameters(model: RewardModel) -> list[str]:
    heads = head_module_names(model)
    return [name for name, _ in model.named_parameters() if name.split(".", 1)[0] in heads]


def _is_adapter_of_head(key: str, model: RewardModel) -> bool:
    name = key.removeprefix(PEFT_PREFIX)
    return name.split(".", 1)[0] in head_module_names(model) and "lora_" in name


def _resize_embedding(model: RewardModel, facts: CheckpointFacts, weights: dict[str, Tensor]) -> None:
    """Give the base the rows that the adapter's model had: a pad token may have been added to its vocabulary."""
    embedding: Any = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding)
    names = (f"{PEFT_PREFIX}{name}.weight", f"{PEFT_PREFIX}{name}.base_layer.weight")
    saved = next((weights[name] for name in names if name in weights), None)
    text = facts.config.get("text_config") or facts.config
    wanted = text.get("vocab_size", 0) if saved is None else len(saved)
    if wanted > embedding.num_embeddings:
        grow_embedding(model, wanted)


def _set_up(config: Any, model: RewardModel, *, for_training: bool, is_head_wrapped: bool) -> None:
    """Make the saved config fit for loading; its targets stay as they are."""
    heads = head_module_names(model)
    config.inference_mode = not for_training
    config.base_model_name_or_path = None
    if is_head_wrapped:  # an adapter on the head of a reward model; peft cannot have both
        config.task_type = None
        return
    config.task_type = "SEQ_CLS"
    names = [name for name, _ in model.named_modules()]
    kept = [
        wanted
        for wanted in config.modules_to_save or ()
        if wanted not in heads and any(name == wanted or name.endswith(f".{wanted}") for name in names)
    ]
    config.modules_to_save = [*heads, *kept]


def _load_weights(
    peft_model: Any, weights: dict[str, Tensor], *, keeps_base_head: bool, folder: Path
) -> None:
    from peft import set_peft_model_state_dict

    own = adapter_weights(peft_model)
    given = dict(weights)
    if keeps_base_head:
        heads = tuple(f"{PEFT_PREFIX}{name}." for name in head_module_names(peft_model.get_base_model()))
        given |= {name: own[name] for name in own if name.startswith(heads) and name not in weights}
    missing = sorted(set(own) - set(given))
    try:
        # set_peft_model_state_dict looks every trained module up by name.
        unexpected = [] if missing else set_peft_model_state_dict(peft_model, given).unexpected_keys
        problem = _misfit(missing, unexpected)
    except RuntimeError as error:
        problem = str(error).strip().splitlines()[-1].strip()
    if problem:
        raise PlauditError(
            f"the adapter does not fit its base: {problem}",
            where=str(folder),
            fix="Check base_model_name_or_path in adapter_config.json, or copy the adapter again.",
        )


def _misfit(missing: list[str], unexpected: list[str]) -> str | None:
    if missing:
        return f"{len(missing)} tensors are not in its files: {', '.join(missing[:3])}"
    if unexpected:
        return f"{len(unexpected)} tensors have no place in the base: {', '.join(sorted(unexpected)[:3])}"
    return None


def _follow_config(model: RewardModel, config: dict[str, Any]) -> None:
    """Pad token and OpenRLHF's fields as the adapter's own config has them: the base's rewards are other ones."""
    is_either = is_openrlhf(config) or is_openrlhf(model.config.to_dict())
    for field in OPENRLHF_FIELDS if is_either else ():
        if field in config:
            setattr(model.config, field, config[field])
        elif hasattr(model.config, field):
            delattr(model.config, field)
    pad_token_id = config.get("pad_token_id")
    if pad_token_id is not None:
        model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad_token_id
