"""Whether two models read conversations as the same token ids, and if not, what differs."""

from __future__ import annotations

from plaudit.tokens.rendering import Renderer

__all__ = ["rendering_difference"]


def rendering_difference(first: Renderer, second: Renderer) -> str | None:
    """What makes two renderers give different ids, in words; None where nothing does."""
    if first.sha256() == second.sha256():
        return None
    a, b = first.rule, second.rule
    if a.render != b.render:
        return f"one renders conversations as {a.render}, the other as {b.render}"
    if a.template_sha256 != b.template_sha256:
        return (
            f"the chat templates differ (sha256 {str(a.template_sha256)[:12]}, {str(b.template_sha256)[:12]})"
        )
    if a.chat_template_kwargs != b.chat_template_kwargs:
        return f"the chat template gets {dict(a.chat_template_kwargs)} and {dict(b.chat_template_kwargs)}"
    if a.eos_token != b.eos_token:
        return f"the end-of-sequence tokens are {a.eos_token!r} and {b.eos_token!r}"
    return _vocabulary_difference(first, second) or "the tokenizers encode texts by different rules"


def _vocabulary_difference(first: Renderer, second: Renderer) -> str | None:
    mine, theirs = first.tokenizer.get_vocab(), second.tokenizer.get_vocab()
    if mine != theirs:
        num_apart = len(mine.items() ^ theirs.items())
        token = min(token for token, _ in mine.items() ^ theirs.items())
        ids = [str(vocabulary.get(token, "absent")) for vocabulary in (mine, theirs)]
        return (
            f"the vocabularies have {len(mine):,} and {len(theirs):,} tokens, and {num_apart:,} entries differ "
            f"({token!r}: {' and '.join(ids)})"
        )
    special = [
        {name: str(token) for name, token in renderer.tokenizer.special_tokens_map.items()}
        for renderer in (first, second)
    ]
    for name in sorted(special[0].keys() | special[1].keys()):
        if special[0].get(name) != special[1].get(name):
            return f"{name} is {special[0].get(name)!r} and {special[1].get(name)!r}"
    return None
