"""Text to token ids, in batches, with a beginning and an end that are there exactly once.

What a tokenizer adds by itself (Llama a beginning-of-sequence token in front, BERT a pair of brackets) is
found by encoding a probe, and then added here, so that one rule holds for fast and slow tokenizers alike: a
sequence that already begins or ends that way gets nothing more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from plaudit.errors import PlauditError

__all__ = ["TextEncoder"]

PROBE = "a"
"""A text that every vocabulary can encode, if only as unknown."""


class TextEncoder:
    """A tokenizer together with what it puts around a text by itself.

    Args:
        tokenizer: A tokenizer of transformers, fast or slow; its settings are not changed.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.prefix, self.suffix = _added_ids(tokenizer)

    @property
    def closing_token(self) -> str | None:
        """The token that the tokenizer itself puts at the end, if it does."""
        if not len(self.suffix):
            return None
        return str(self.tokenizer.convert_ids_to_tokens(int(self.suffix[-1])))

    def raw_ids(self, texts: Sequence[str], sources: Sequence[str] | None = None) -> list[np.ndarray]:
        """int32 ids of each text with nothing added: one array per text.

        Raises:
            PlauditError: A text that no tokenizer can read (a lone surrogate), naming its source.
        """
        if not texts:
            return []
        try:
            rows = self._encode(list(texts))
        except (TypeError, ValueError, UnicodeError) as error:
            raise _unreadable(texts, sources, error) from error
        return [np.array(ids, dtype=np.int32) for ids in rows]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        # verbose=False: over-length is counted by the limits; the warning would name one text of many.
        return self.tokenizer(
            texts,
            add_special_tokens=False,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]

    def with_prefix(self, ids: np.ndarray) -> np.ndarray:
        """`ids` with the tokenizer's own beginning in front, unless they already begin so."""
        num_added = len(self.prefix)
        if num_added == 0 or np.array_equal(ids[:num_added], self.prefix):
            return ids
        return np.concatenate([self.prefix, ids])

    def with_suffix(self, ids: np.ndarray) -> np.ndarray:
        """`ids` with the tokenizer's own end behind, unless they already end so."""
        num_added = len(self.suffix)
        if num_added == 0 or np.array_equal(ids[-num_added:], self.suffix):
            return ids
        return np.concatenate([ids, self.suffix])

    def sha256(self) -> str:
        """SHA-256 of everything that decides the ids of a text, for caches."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            state = {"class": type(self.tokenizer).__name__, "vocab": self.tokenizer.get_vocab()}
        else:
            state = json.loads(backend.to_str())
            # Padding and truncation are settings of the last call, not of the vocabulary.
            state["padding"] = state["truncation"] = None
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _added_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[np.ndarray, np.ndarray]:
    """The ids that the tokenizer puts in front of a text and behind it."""
    bare = list(tokenizer(PROBE, add_special_tokens=False)["input_ids"])
    full = list(tokenizer(PROBE)["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            front, behind = full[:start], full[start + len(bare) :]
            return np.array(front, dtype=np.int32), np.array(behind, dtype=np.int32)
    raise PlauditError(
        f"the tokenizer encodes {PROBE!r} as {full} with its special tokens and as {bare} without",
        where=str(tokenizer.name_or_path) or "tokenizer",
        fix="Use a tokenizer that adds its special tokens around the text.",
    )


def _unreadable(texts: Sequence[str], sources: Sequence[str] | None, error: Exception) -> PlauditError:
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeError:
            return PlauditError(
                "the text holds half a surrogate pair, which is no Unicode text",
                where=sources[index] if sources else f"text {index}",
                fix="Write the file again as UTF-8, or remove the record.",
            )
    where = sources[0] if sources else "tokenizer"
    return PlauditError(f"the tokenizer failed: {error}", where=where, fix="Check the tokenizer's files.")
