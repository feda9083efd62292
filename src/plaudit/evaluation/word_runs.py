"""Texts as words, and the hash of every run of 13 words: what `plaudit.evaluation.leaks` compares.

Words are letters, digits and the marks that belong to them, in lower case and composed (Unicode's NFC), so that case,
punctuation and the way an accent is stored do not matter. A Chinese character and a hiragana are a word each, since
those scripts put no spaces between words. Thai, Lao, Khmer and Burmese put none either, and what stands between two
spaces is one word there: of those languages equal texts are found, and only long passages.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import regex
from jaxtyping import UInt64

__all__ = ["GRAM_WORDS", "hashes_of_runs", "words_of"]

GRAM_WORDS = 13
"""Words in a row (paper: arXiv:2005.14165, appendix C)."""

_SINGLE = r"[\p{Han}\p{Hiragana}]"
_WORD = regex.compile(
    rf"[{_SINGLE}&&[\p{{L}}\p{{N}}]]\p{{M}}*|[[\p{{L}}\p{{N}}]--{_SINGLE}][[\p{{L}}\p{{N}}\p{{M}}]--{_SINGLE}]*",
    regex.V1,
)
_ASCII_WORD = re.compile(r"[a-z0-9]+")


def words_of(text: str) -> list[str]:
    """The words that are compared.

    >>> words_of("It's 3.5, isn't_it?"), words_of("今天 OK")
    (['it', 's', '3', '5', 'isn', 't', 'it'], ['今', '天', 'ok'])
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())  # the same words, five times as fast
    return _WORD.findall(unicodedata.normalize("NFC", text.lower()))


def hashes_of_runs(words: Sequence[str]) -> UInt64[np.ndarray, " _run"]:
    """The hash of every run of `GRAM_WORDS` words: a polynomial of the words' own hashes, modulo 2^64."""
    if len(words) < GRAM_WORDS:
        return np.empty(0, dtype=np.uint64)
    single = np.array([_hash_word(word) for word in words], dtype=np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(single, GRAM_WORDS)
    with np.errstate(over="ignore"):
        return (windows * _FACTORS).sum(axis=1, dtype=np.uint64)


@lru_cache(maxsize=1 << 17)
def _hash_word(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


_FACTORS = np.array([pow(0x9E3779B97F4A7C15, k, 2**64) for k in range(1, GRAM_WORDS + 1)], dtype=np.uint64)
"""Odd, so that no word is lost in the sum."""
