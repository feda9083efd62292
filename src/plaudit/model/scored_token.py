"""Which token's hidden state a reward is read from: the last one of the rendered conversation, by name."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from plaudit.errors import PlauditError
from plaudit.tokens.rule import RenderingRule
from plaudit.tokens.template import apply_template

__all__ = ["ScoredToken", "scored_token"]

CONVERSATION = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello!"}]
"""Rendered to see how conversations end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredToken:
    """The token at the end of every conversation."""

    id: int
    """Its id."""
    text: str
    """What it stands for."""
    is_end_of_sequence: bool
    """Whether it is the tokenizer's end-of-sequence token."""

    def __str__(self) -> str:
        return f"the last token, {self.text!r} (id {self.id})"


def scored_token(tokenizer: PreTrainedTokenizerBase, rule: RenderingRule | None = None) -> ScoredToken | None:
    """The token that ends a rendered conversation; None where the template refuses one, or nothing ends a text.

    Args:
        tokenizer: The model's.
        rule: How conversations are rendered; None takes the chat template where there is one, else plain text.
    """
    is_chat = tokenizer.chat_template is not None if rule is None else rule.render == "chat"
    if is_chat:
        try:
            text = apply_template(tokenizer, CONVERSATION, None, rule.chat_template_kwargs if rule else {})
        except PlauditError:
            return None
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        eos = (rule.eos_token if rule else None) or tokenizer.eos_token or tokenizer.sep_token
        if eos is None:
            return None
        ids = [tokenizer.convert_tokens_to_ids(str(eos))]
    if not ids:
        return None
    last = int(ids[-1])  # type: ignore[arg-type]
    text = str(tokenizer.decode([last]))
    return ScoredToken(id=last, text=text, is_end_of_sequence=last == tokenizer.eos_token_id)
