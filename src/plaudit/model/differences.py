"""What plain transformers and servers would do differently with a folder than plaudit does, as sentences.

All of it is read from the config and the head; nothing is loaded. Each rule names where the other behaviour is from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plaudit.model.checkpoint import CheckpointFacts

__all__ = ["end_of_sequence_ids", "plain_differences"]


def plain_differences(
    facts: CheckpointFacts, config: Mapping[str, Any], *, bias: float | None = None
) -> tuple[str, ...]:
    """Sentences without an end; empty where plain transformers gives the same reward.

    Args:
        facts: What was recognised.
        config: The folder's config, of the whole model where the folder is an adapter without one.
        bias: The head's bias, where it has one.
    """
    found = [
        _of_class(facts),
        _of_outputs(facts, config),
        _of_bias(facts, bias),
        _of_pad_token(facts, config),
        _of_activation(facts, config),
        _of_normalization(facts, config),
    ]
    return tuple(sentence for sentence in found if sentence)


def end_of_sequence_ids(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that end a sequence by the config; empty where it names none."""
    ids = _of_text(config, "eos_token_id")
    return tuple(ids) if isinstance(ids, list) else () if ids is None else (int(ids),)


def _of_text(config: Mapping[str, Any], name: str) -> Any:
    """A field of the config, or of the text model's part of it."""
    value = config.get(name)
    return (config.get("text_config") or {}).get(name) if value is None else value


def _of_class(facts: CheckpointFacts) -> str:
    kind = facts.architecture or "no class"
    if facts.format in ("value-head", "value-head-one-file"):
        return (
            "plain transformers knows no value head: for sequence classification it would draw a random head"
        )
    if facts.format == "value-head-adapter":
        return "plain peft knows no value head: it would load a causal model without one"
    if facts.format == "token-classification":
        return "plain transformers gives one number for every token, and the reward is that of the last"
    if facts.format in ("sequence-classification", "openrlhf") and not kind.endswith(
        "ForSequenceClassification"
    ):
        return f"config.json names {kind}, so loaders that go by the class miss the head (vLLM, rewardbench)"
    return ""


def _of_outputs(facts: CheckpointFacts, config: Mapping[str, Any]) -> str:
    if facts.format not in ("sequence-classification", "openrlhf", "token-classification"):
        return ""
    labels = int(config.get("num_labels") or len(config.get("id2label") or {}) or 2)
    if facts.head_weight_key is None or labels == facts.num_labels:
        return ""
    return f"plain transformers would build {labels} outputs, since config.json does not say num_labels 1"


def _of_bias(facts: CheckpointFacts, bias: float | None) -> str:
    if bias is None or facts.format not in ("sequence-classification", "openrlhf", "adapter"):
        return ""
    if facts.head_bias_key is None or "score" not in facts.head_bias_key:
        return ""
    shift = f"{abs(bias):.6g} {'lower' if bias > 0 else 'higher'}"
    tool = "peft" if facts.is_adapter else "transformers"
    return f"plain {tool} drops the head's bias, so its rewards are {shift}"


def _of_pad_token(facts: CheckpointFacts, config: Mapping[str, Any]) -> str:
    if facts.head_weight_key is not None and "classifier" in facts.head_weight_key:
        return ""  # encoders pool at the first token or over all
    if facts.format not in ("sequence-classification", "openrlhf", "adapter"):
        return ""
    pad = _of_text(config, "pad_token_id")
    if pad is None:
        return "plain transformers takes one row at a time only, since config.json names no pad_token_id"
    if pad in end_of_sequence_ids(config):
        return (
            f"plain transformers reads the reward one token early where a conversation ends with token {pad}, "
            "which is both pad_token_id and eos_token_id"
        )
    return ""


def _of_activation(facts: CheckpointFacts, config: Mapping[str, Any]) -> str:
    is_served = facts.format in ("sequence-classification", "openrlhf")
    if not is_served or config.get("problem_type") == "regression" or facts.num_labels != 1:
        return ""
    return "pipelines and vLLM return sigmoid(reward), since config.json does not say problem_type regression"


def _of_normalization(facts: CheckpointFacts, config: Mapping[str, Any]) -> str:
    if facts.format != "openrlhf" or not config.get("normalize_reward"):
        return ""
    return (
        "OpenRLHF's server returns (reward - mean) / std, since normalize_reward is on; here rewards are raw"
    )
