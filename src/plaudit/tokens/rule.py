"""How a conversation became token ids, as a small record that is saved beside the weights.

A reward depends on every character around the conversation. Whoever scores with a trained model restores this
record and so renders exactly as the training did; a template that has changed since is an error, not a shift
of every reward.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from plaudit.errors import PlauditError, unknown_choice

__all__ = ["ChatTemplate", "RenderingRule", "template_sha256"]

ChatTemplate: TypeAlias = str | dict[str, str] | None
"""What a tokenizer's `chat_template` may be: one template, several by name, or none."""

RENDERINGS = ("chat", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderingRule:
    """How conversations are rendered: enough, with the tokenizer, to render them so again."""

    render: str
    """`chat`: the tokenizer's chat template over the whole conversation. `text`: prompt, completion and the
    end-of-sequence token, one after the other."""
    eos_token: str | None
    """The end-of-sequence token in force: the one that closes a text, and the one that a template writes."""
    template_sha256: str | None = None
    """SHA-256 of the chat template; None for `text`."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the chat template that every conversation gets; a record's own come on top."""

    def to_json(self) -> str:
        """The rule as one JSON object.

        >>> print(RenderingRule(render="text", eos_token="</s>").to_json())
        {"render": "text", "eos_token": "</s>", "template_sha256": null, "chat_template_kwargs": {}}
        """
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> RenderingRule:
        """The inverse of `to_json`.

        Raises:
            PlauditError: Not a JSON object of these fields, or an unknown rendering.

        >>> rule = RenderingRule(render="text", eos_token="</s>")
        >>> RenderingRule.from_json(rule.to_json()) == rule
        True
        """
        try:
            rule = cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise PlauditError(
                f"not a saved rendering rule ({error})",
                where="rendering rule",
                fix="Save it again with RenderingRule.to_json.",
            ) from error
        if rule.render not in RENDERINGS:
            raise unknown_choice("rendering rule", rule.render, RENDERINGS)
        return rule


def template_sha256(template: ChatTemplate) -> str | None:
    """SHA-256 of a chat template, in hexadecimal; None for no template.

    >>> template_sha256("{{ messages }}")[:8]
    'f24189f0'
    """
    if template is None:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
