"""A conversation in the form that a server's protocol takes it: text, token ids, messages, or prompt and answer."""

from __future__ import annotations

from typing import Any

from plaudit.errors import PlauditError
from plaudit.evaluation.conversations import Conversation
from plaudit.evaluation.protocols import PROTOCOLS
from plaudit.tokens import Renderer
from plaudit.tokens.conversation import conversation as as_turns

__all__ = ["wire_item"]


def wire_item(c: Conversation, protocol: str, renderer: Renderer | None) -> Any:
    """The conversation in the form that the protocol takes.

    Args:
        c: The conversation.
        protocol: A name in `PROTOCOLS`.
        renderer: Renders where the protocol takes text, which needs one, or token ids.

    Raises:
        PlauditError: The protocol has no place for something in the conversation.
    """
    takes = PROTOCOLS[protocol].takes
    if takes == "text":
        return _rendered(c, renderer)
    if takes == "ids" and renderer is not None:
        ids = renderer.token_ids(c.prompt, c.completion, c.tools, c.chat_template_kwargs, source=c.source)
        return ids.tolist()
    if c.tools or c.chat_template_kwargs:
        raise PlauditError(
            f"the protocol {protocol} has no place for tools and template arguments",
            where=c.source,
            fix="Give --tokenizer with a protocol that takes rendered text or ids, such as vllm-classify.",
        )
    if takes in ("messages", "ids"):
        return as_turns(c.prompt, c.completion, source=c.source)
    if takes == "pair":
        return _plain_text(c, c.prompt, protocol), _plain_text(c, c.completion, protocol)
    return (c.prompt, c.completion) if isinstance(c.prompt, str) else (list(c.prompt), _last_turn(c))


def _rendered(c: Conversation, renderer: Renderer | None) -> str:
    """Rendered, without what the server's tokenizer puts in front by itself."""
    assert renderer is not None, "checked when the source was made"
    text = renderer.render_text(c.prompt, c.completion, c.tools, c.chat_template_kwargs, source=c.source)
    encoder = renderer.encoder
    own = renderer.decode(encoder.prefix) if len(encoder.prefix) else ""
    return text.removeprefix(own) if own else text


def _last_turn(c: Conversation) -> Any:
    """What answers, as text where it is one assistant turn of text."""
    turns = c.completion
    if not isinstance(turns, str) and len(turns) == 1 and turns[0].get("role") == "assistant":
        content = turns[0].get("content")
        if isinstance(content, str) and set(turns[0]) == {"role", "content"}:
            return content
        return dict(turns[0])
    if isinstance(turns, str):
        return turns
    raise PlauditError(
        f"a completion of {len(turns)} messages cannot be sent: the protocol plaudit takes one",
        where=c.source,
        fix="Give --tokenizer with a protocol that takes rendered text or ids.",
    )


def _plain_text(c: Conversation, part: Any, protocol: str) -> str:
    if isinstance(part, str):
        return part
    if len(part) == 1 and isinstance(part[0].get("content"), str):
        return part[0]["content"]
    raise PlauditError(
        f"the protocol {protocol} takes a prompt and an answer of one text each, not {len(part)} messages",
        where=c.source,
        fix="Choose another protocol of the server, such as vllm-classify.",
    )
