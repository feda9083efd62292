"""The one rendering: prompt and completion to text, text to token ids, for every path of the project.

Training, evaluation, scoring and serving all come through here, so that a conversation has one sequence of
ids, and with it one reward. Two renderings exist:

`chat`: the tokenizer's chat template over the whole conversation, ids as `apply_chat_template` of
transformers gives them. The template alone decides on beginning and end.

`text`: prompt + completion + end-of-sequence token, ids as the tokenizer gives them: its own beginning of
sequence once, the end of sequence once (TRL's rule for standard data).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from plaudit.errors import PlauditError, unknown_choice
from plaudit.preferences.group import Completion, Message, Prompt
from plaudit.tokens.conversation import as_messages, conversation
from plaudit.tokens.encoding import TextEncoder
from plaudit.tokens.rule import RenderingRule, template_sha256
from plaudit.tokens.template import Tools, apply_template, messages_need_template, warn_of_template

__all__ = ["Renderer"]


class Renderer:
    """Conversations to text and token ids, always by the same rule.

    Args:
        tokenizer: A tokenizer of transformers. It is not changed.
        render: `chat`, `text`, or `auto`: `chat` where the tokenizer has a chat template, else `text`.
        eos_token: The end-of-sequence token, if not the tokenizer's own.
        chat_template_kwargs: Arguments of the template for every conversation (`enable_thinking`,
            `date_string`); a record's own come on top.

    Raises:
        PlauditError: `chat` without a template, `text` without an end-of-sequence token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        render: str = "auto",
        eos_token: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if render not in ("auto", "chat", "text"):
            raise unknown_choice("--render", render, ["auto", "chat", "text"])
        self.tokenizer = tokenizer
        self.encoder = TextEncoder(tokenizer)
        self.render = _resolve(render, has_template=tokenizer.chat_template is not None)
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        own_eos = None if tokenizer.eos_token is None else str(tokenizer.eos_token)
        self.eos_token: str | None = eos_token or own_eos or self.encoder.closing_token
        self._eos_given = eos_token
        self._eos_to_append = self._check_eos() if self.render == "text" else ""
        if self.render == "chat":
            warn_of_template(tokenizer, eos_token, self.chat_template_kwargs)

    @property
    def leading_ids(self) -> frozenset[int]:
        """Ids that begin a sequence and stay in front when its prompt is cut."""
        own = (self.tokenizer.bos_token_id, self.tokenizer.cls_token_id)
        return frozenset([i for i in own if isinstance(i, int)] + self.encoder.prefix.tolist())

    @property
    def rule(self) -> RenderingRule:
        """What to save beside the weights, so that scoring renders as training did."""
        template = self.tokenizer.chat_template if self.render == "chat" else None
        return RenderingRule(
            render=self.render,
            eos_token=self.eos_token,
            template_sha256=template_sha256(template),
            chat_template_kwargs=self.chat_template_kwargs,
        )

    @classmethod
    def from_rule(cls, tokenizer: PreTrainedTokenizerBase, rule: RenderingRule) -> Renderer:
        """The renderer that a saved rule describes.

        Raises:
            PlauditError: The tokenizer's chat template is not the one of the rule.
        """
        found = template_sha256(tokenizer.chat_template)
        if rule.render == "chat" and found != rule.template_sha256:
            raise PlauditError(
                f"the chat template (sha256 {str(found)[:12]}) is not the one the model was trained with "
                f"(sha256 {str(rule.template_sha256)[:12]}), so every reward would shift",
                where=str(tokenizer.name_or_path) or "tokenizer",
                fix="Restore the chat template that was saved with the model.",
            )
        return cls(
            tokenizer,
            render=rule.render,
            eos_token=None if rule.eos_token == tokenizer.eos_token else rule.eos_token,
            chat_template_kwargs=rule.chat_template_kwargs,
        )

    def sha256(self) -> str:
        """SHA-256 of everything that decides the ids of a conversation, for caches."""
        special = {name: str(token) for name, token in self.tokenizer.special_tokens_map.items()}
        state = [self.rule.to_json(), self.encoder.sha256(), special]
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    # Text -------------------------------------------------------------------------------------------------

    def render_text(
        self,
        prompt: Prompt,
        completion: Completion,
        tools: Tools = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        *,
        source: str = "",
    ) -> str:
        """The whole conversation as text; `token_ids_of_text` of it gives the ids of `token_ids`.

        Raises:
            PlauditError: Messages without a template, or a template that refuses them, naming `source`.
        """
        if self.render == "text":
            return self._closed(self._plain(prompt, source) + self._plain(completion, source))
        turns = conversation(prompt, completion, source=source)
        return self._apply(turns, tools, chat_template_kwargs, source=source)

    def render_messages(
        self,
        messages: Sequence[Message],
        tools: Tools = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        *,
        source: str = "",
    ) -> str:
        """A whole conversation, given as messages, as text.

        Raises:
            PlauditError: No template, or a template that refuses them, naming `source`.
        """
        if self.render == "text":
            raise messages_need_template(self.tokenizer.chat_template is not None, source)
        return self._apply(as_messages(messages, source=source), tools, chat_template_kwargs, source=source)

    def render_prompt(
        self,
        prompt: Prompt,
        tools: Tools = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        *,
        source: str = "",
    ) -> str | None:
        """The prompt up to where a completion begins; None when the template cannot render a prompt alone.

        Some templates refuse a conversation that does not end with an answer. Then nothing is known of the
        prompt's length, and nothing will be cut from it.
        """
        if self.render == "text":
            return self._plain(prompt, source)
        turns = conversation(prompt, None, source=source)
        try:
            return self._apply(turns, tools, chat_template_kwargs, source=source, for_completion=True)
        except PlauditError:
            return None

    # Token ids --------------------------------------------------------------------------------------------

    def token_ids(
        self,
        prompt: Prompt,
        completion: Completion,
        tools: Tools = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        *,
        source: str = "",
    ) -> np.ndarray:
        """int32 ids [length] of the whole conversation; errors as `render_text`."""
        text = self.render_text(prompt, completion, tools, chat_template_kwargs, source=source)
        return self.token_ids_of_texts([text], sources=[source])[0]

    def token_ids_of_messages(
        self,
        messages: Sequence[Message],
        tools: Tools = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        *,
        source: str = "",
    ) -> np.ndarray:
        """int32 ids [length] of a whole conversation given as messages; errors as `render_messages`."""
        text = self.render_messages(messages, tools, chat_template_kwargs, source=source)
        return self.token_ids_of_texts([text], sources=[source])[0]

    def token_ids_of_text(self, text: str) -> np.ndarray:
        """int32 ids [length] of a conversation that is rendered already: no second beginning or end."""
        return self.token_ids_of_texts([text])[0]

    def token_ids_of_texts(
        self, texts: Sequence[str], *, sources: Sequence[str] | None = None
    ) -> list[np.ndarray]:
        """`token_ids_of_text` for many, in one call of the tokenizer, which is far quicker."""
        if self.render == "chat":
            return self.encoder.raw_ids(texts, sources)
        rows = self.encoder.raw_ids([self._closed(text) for text in texts], sources)
        return [self.encoder.with_suffix(self.encoder.with_prefix(ids)) for ids in rows]

    def token_ids_of_prompts(
        self, prompts: Sequence[str], *, sources: Sequence[str] | None = None
    ) -> list[np.ndarray]:
        """int32 ids of prompts as `render_prompt` gives them: the tokenizer's own beginning, no end."""
        rows = self.encoder.raw_ids(prompts, sources)
        return rows if self.render == "chat" else [self.encoder.with_prefix(ids) for ids in rows]

    # Steps ------------------------------------------------------------------------------------------------

    def decode(self, ids: np.ndarray) -> str:
        """Token ids as text, special tokens shown: what the model reads."""
        text = self.tokenizer.decode(ids)
        return text if isinstance(text, str) else "".join(text)

    def _plain(self, value: Prompt | Completion, source: str) -> str:
        if not isinstance(value, str):
            raise messages_need_template(self.tokenizer.chat_template is not None, source)
        return value

    def _closed(self, text: str) -> str:
        return text if text.endswith(self._eos_to_append) else text + self._eos_to_append

    def _apply(
        self,
        turns: list[dict[str, Any]],
        tools: Tools,
        chat_template_kwargs: Mapping[str, Any] | None,
        *,
        source: str,
        for_completion: bool = False,
    ) -> str:
        arguments = {**self.chat_template_kwargs, **(chat_template_kwargs or {})}
        if self._eos_given is not None:
            arguments.setdefault("eos_token", self._eos_given)
        return apply_template(
            self.tokenizer, turns, tools, arguments, add_generation_prompt=for_completion, source=source
        )

    def _check_eos(self) -> str:
        """The text to put at the end: empty where the tokenizer itself adds the end-of-sequence token."""
        if self.eos_token is None:
            raise PlauditError(
                "the tokenizer has no end-of-sequence token, so a text has no end to read its reward at",
                where=str(self.tokenizer.name_or_path) or "tokenizer",
                fix="Name one with --eos-token, or give a chat template with --chat-template-path.",
            )
        if self.encoder.closing_token == self.eos_token:
            return ""
        ids = self.encoder.raw_ids([self.eos_token])[0]
        if len(ids) == 0 or ids[-1] != self.tokenizer.convert_tokens_to_ids(self.eos_token):
            raise PlauditError(
                f"{self.eos_token!r} is not one token of the tokenizer, it is {len(ids)}",
                where="--eos-token",
                fix=f"Name a token of the vocabulary; the tokenizer's own is {self.tokenizer.eos_token!r}.",
            )
        return self.eos_token


def _resolve(render: str, *, has_template: bool) -> str:
    """`auto` decided; `chat` without a template refused."""
    if render == "chat" and not has_template:
        raise PlauditError(
            "the tokenizer has no chat template",
            where="--render chat",
            fix="Give a chat template file (--chat-template-path), or choose --render text for plain text.",
        )
    if render == "auto":
        return "chat" if has_template else "text"
    return render
