"""What was trained, as far as a run's record and its model card have to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["AdapterFacts", "ModelFacts", "adapter_facts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterFacts:
    """An adapter (LoRA) that was trained instead of all weights."""

    method: str
    """``LoRA``, ``DoRA``, ``rsLoRA``, or another of peft's by its name."""
    rank: int | None = None
    """Its rank."""
    alpha: float | None = None
    """Its scale."""
    dropout: float | None = None
    """Its dropout."""
    target_modules: tuple[str, ...] = ()
    """Layers that got one."""
    is_merged: bool = False
    """Whether the saved folder holds the merged weights, and so is an ordinary model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A reward model: where it started, how it is built, how it reads a conversation."""

    base_model: str | None
    """What training started from: a hub id, or a local folder."""
    base_is_on_hub: bool = False
    """Whether ``base_model`` is a hub id."""
    architecture: str = ""
    """The class in its config."""
    num_parameters: int | None = None
    """All parameters."""
    num_trainable_parameters: int | None = None
    """Those that were trained."""
    head: str = "score"
    """``score``, or ``value``: saved as a causal model, or an adapter of one, with the head in a file beside it."""
    adapter: AdapterFacts | None = None
    """The adapter; None when all weights were trained."""
    attributes: Mapping[str, float] = field(default_factory=dict)
    """Rated attributes by name with their weights in the reward, one output each; empty for one output."""
    render: str = "text"
    """``chat``: the tokenizer's chat template; ``text``: prompt, completion, end-of-sequence token."""
    eos_token: str | None = None
    """The end-of-sequence token that closes a text."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the chat template that every conversation gets."""
    attention: str = ""
    """Backend of the attention."""

    @property
    def needs_peft(self) -> bool:
        """Whether the saved folder holds an adapter that is not merged."""
        return self.adapter is not None and not self.adapter.is_merged

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelFacts:
        """The inverse of `plaudit.plain_json.as_plain`."""
        adapter = values["adapter"]
        if adapter is not None:
            adapter = AdapterFacts(**{**adapter, "target_modules": tuple(adapter["target_modules"])})
        return cls(**{**values, "adapter": adapter})


def adapter_facts(config: Mapping[str, Any], *, is_merged: bool = False) -> AdapterFacts:
    """The facts of a peft configuration, given as ``peft_config.to_dict()``.

    >>> adapter_facts({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "use_dora": True}).method
    'DoRA'
    """
    kind = getattr(config.get("peft_type"), "value", config.get("peft_type")) or "adapter"
    method = {"LORA": "LoRA"}.get(str(kind), str(kind))
    if method == "LoRA":
        method = "DoRA" if config.get("use_dora") else "rsLoRA" if config.get("use_rslora") else "LoRA"
    targets = config.get("target_modules") or ()
    return AdapterFacts(
        method=method,
        rank=config.get("r"),
        alpha=config.get("lora_alpha"),
        dropout=config.get("lora_dropout"),
        target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
        is_merged=is_merged,
    )
