"""What two completions begin with in common: the prompt, where a record does not name it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["implicit_message_prompt", "implicit_text_prompt", "num_common_characters"]


def num_common_characters(first: str, second: str) -> int:
    """How many characters two texts have in common at the start, by bisection over slices.

    >>> num_common_characters("The sky is blue", "The sky was blue")
    8
    """
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def implicit_text_prompt(chosen: str, rejected: str) -> int:
    """Length of the prompt that two plain texts share, by TRL's rule (`trl.extract_prompt`).

    The common beginning; a space at its end belongs to the completions; and where one text begins with the
    whole other one, the last character of the shorter stays a completion, since a completion must not be
    empty.
    """
    shortest = min(len(chosen), len(rejected))
    length = num_common_characters(chosen, rejected)
    if length == shortest:
        return max(shortest - 1, 0)
    return length - 1 if length > 0 and chosen[length - 1] == " " else length


def implicit_message_prompt(chosen: Sequence[object], rejected: Sequence[object]) -> int:
    """Number of leading messages that two conversations share; at least one stays for each completion."""
    most = min(len(chosen), len(rejected)) - 1
    length = 0
    while length < most and chosen[length] == rejected[length]:
        length += 1
    return length
