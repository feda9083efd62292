"""How tensors are called in the files of others: what peft puts around a name, and heads of language models."""

from __future__ import annotations

import re

__all__ = ["LANGUAGE_HEADS", "PEFT_PREFIX", "peft_name"]

PEFT_PREFIX = "base_model.model."
"""What peft puts before the model's own names."""

LANGUAGE_HEADS = ("lm_head.", "embed_out.")
"""Names of language-model heads; without them a causal model is the backbone, and no reward depends on them."""


def peft_name(name: str) -> str:
    """A tensor's name as today's peft writes it; older versions: ``score.modules_to_save.default.weight``."""
    return re.sub(r"\.modules_to_save\.(\w+\.)?(?=\w+$)", ".", name)
