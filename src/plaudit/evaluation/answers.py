"""The final answer of a sampled solution, as text that is equal where answers are: for a majority vote.

Rules, the last place in the text counts: ``\\boxed{...}``; else what follows ``####`` (GSM8K); else what follows
``Answer:`` or ``the answer is``; else what follows ``A:`` at the start of a line. A text that says only that the
answer is not known names none. Nothing is calculated: 1/2 and 0.5 are two answers.
"""

from __future__ import annotations

import re

__all__ = ["final_answer", "normalise_answer"]

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_SAID = r"[ \t*_]*([^\n]+?)(?:\.(?=\s|$)|$)"
_NO_ANSWER = r"(?![ \t*_]*(?:not|never|unclear|unknown)\b)"
_NAMED = re.compile(
    rf"(?:^[ \t>*_]*(?:final )?answer[ \t*_]*[:=]|\banswer is\b{_NO_ANSWER}:?){_SAID}",
    re.IGNORECASE | re.MULTILINE,
)
_LETTER_A = re.compile(rf"^[ \t>*_]*a[ \t*_]*:{_SAID}", re.IGNORECASE | re.MULTILINE)
"""Weaker than `_NAMED`: it is an option's letter, too."""
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")


def final_answer(text: str) -> str | None:
    """The answer that a text ends in, normalised; None where it names none.

    >>> final_answer("She sells 9 eggs.\\nA: $1,800.00")
    '1800'
    >>> final_answer(r"so \\\\boxed{\\\\frac{1}{2}}, which"), final_answer("I do not know.")
    ('\\\\\\\\frac{1}{2}', None)
    """
    found = _boxed(text) or _last(_HASHES, text) or _last(_NAMED, text) or _last(_LETTER_A, text)
    return normalise_answer(found) if found is not None else None


def normalise_answer(answer: str) -> str | None:
    """An answer without what does not matter: case, spaces, currency, a full stop, ``18.0`` for ``18``; or None.

    >>> normalise_answer(" $1,234.50. "), normalise_answer("(B)"), normalise_answer(" ")
    ('1234.5', 'b', None)
    """
    text = _TEXT_COMMAND.sub(r"\1", answer).strip().strip("$*_`").rstrip(".").strip()
    if re.fullmatch(r"\([A-Za-z]\)", text):
        text = text[1:-1]
    number = text.lstrip("$€£").removesuffix("%").strip()
    if re.search(r"\d", number) and _NUMBER.fullmatch(number):
        return _plain_number(number)
    return " ".join(text.split()).lower() or None


def _plain_number(text: str) -> str:
    digits = text.replace(",", "").lstrip("+")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    whole, _, part = digits.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    value = f"{whole}.{part}" if part else whole
    return value if value == "0" else sign + value


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.findall(text)
    return found[-1] if found else None


def _boxed(text: str) -> str | None:
    """What stands in the last box; None where its brace is not closed."""
    starts = [match.end() for match in _BOXED.finditer(text)]
    if not starts:
        return None
    depth = 1
    for index in range(starts[-1], len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[starts[-1] : index]
    return None
