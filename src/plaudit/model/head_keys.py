"""Where a folder's head is: the names under which reward models keep it, in every format in use."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from plaudit.errors import PlauditError
from plaudit.model.tensor_files import TensorFiles

__all__ = ["HeadKeys", "find_head", "has_tensor", "looks_like_head", "one_row_tensors"]

LIKE_A_HEAD = re.compile(
    r"(^|\.)(score|classifier|classification_head|logits_proj|v_head|value_head|reward_head|rm_head|regression_layer)\."
)
"""Names that sound like a head's; errors list them."""

VALUE_HEAD = re.compile(r"(^|\.)v_head\.summary\.weight$")
"""TRL's ValueHead, which LLaMA-Factory uses too."""

IN_ADAPTER = r"(base_model\.model\.)?"
"""What peft puts before the model's own names."""

SAVED_MODULE = r"(\.modules_to_save(\.\w+?)?)?"
"""What older versions of peft put between the head and its parameter; ``original_module`` is the untrained copy."""

CLASSIFICATION = re.compile(
    rf"^{IN_ADAPTER}(score|classifier|classification_head|logits_proj){SAVED_MODULE}(\.out_proj)?\.weight$"
)
"""transformers' sequence and token classification, decoders and encoders."""

OPENRLHF_PREFIXES = ("score", "value_head")
"""Heads of OpenRLHF where its config does not name one: today's default and the older one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadKeys:
    """The tensors of a head."""

    weight: str
    """Full name of the weight [outputs, hidden]."""
    bias: str | None
    """Full name of the bias [outputs]; None without one."""

    @property
    def is_value_head(self) -> bool:
        """Whether it is TRL's: a weight and a bias under ``v_head.summary``."""
        return VALUE_HEAD.search(self.weight) is not None


def find_head(tensors: TensorFiles, config: dict[str, Any], *, head_key: str | None) -> HeadKeys | None:
    """The head among a folder's tensors; None where there is none under a known name.

    Args:
        tensors: The folder's.
        config: What its config.json says; OpenRLHF names its head there.
        head_key: The weight's name where it is an unusual one, with or without ``.weight``.

    Raises:
        PlauditError: No tensor has the given name, or several could be the head.
    """
    names = tensors.names()
    if head_key is not None:
        return _with_bias(_by_name(head_key, tensors), tensors)
    prefix = config.get("value_head_prefix")
    prefixes = (prefix,) if prefix else OPENRLHF_PREFIXES
    by_prefix = re.compile(rf"^{IN_ADAPTER}({'|'.join(map(re.escape, prefixes))}){SAVED_MODULE}\.weight$")
    found = [
        name
        for name in names
        if VALUE_HEAD.search(name) or CLASSIFICATION.match(name) or by_prefix.match(name)
    ]
    if prefix and (named := [name for name in found if by_prefix.match(name)]):
        found = named
    if len(found) > 1:
        raise PlauditError(
            f"has {len(found)} heads: {', '.join(found)}",
            where=str(tensors.path),
            fix="Say which one gives the reward: --head-key NAME.",
        )
    return _with_bias(found[0], tensors) if found else None


def has_tensor(tensors: TensorFiles, head_key: str) -> bool:
    """Whether a head's weight has the given name, with or without ``.weight``."""
    return head_key in tensors or f"{head_key}.weight" in tensors


def looks_like_head(name: str) -> bool:
    """Whether a tensor's name sounds like a head's."""
    return LIKE_A_HEAD.search(name) is not None


def one_row_tensors(tensors: TensorFiles) -> list[str]:
    """Tensors [1, n]: what a head under an unknown name looks like."""
    return [name for name in tensors.names() if len(shape := tensors.shape(name)) == 2 and shape[0] == 1]


def _by_name(head_key: str, tensors: TensorFiles) -> str:
    for name in (head_key, f"{head_key}.weight"):
        if name in tensors:
            return name
    close = difflib.get_close_matches(head_key, tensors.names(), n=3)
    like = (
        close or one_row_tensors(tensors)[:5] or [name for name in tensors.names() if looks_like_head(name)]
    )
    raise PlauditError(
        f"no tensor is named {head_key!r} (of {len(tensors)} in {tensors.path})",
        where="--head-key",
        fix=f"Like it or like a head are: {', '.join(like) or 'none'}.",
    )


def _with_bias(weight: str, tensors: TensorFiles) -> HeadKeys:
    bias = re.sub(r"weight$", "bias", weight)
    return HeadKeys(weight=weight, bias=bias if bias != weight and bias in tensors else None)
