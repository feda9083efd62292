"""HH-RLHF transcripts: dialogues as one text, with "\\n\\nHuman:" and "\\n\\nAssistant:" before the turns.

Whole dialogues are divided behind the last "\\n\\nAssistant:" that they share, so that prompt + completion is
the original, byte for byte. As messages, each turn is stripped of white space. (Bai et al., arXiv:2204.05862)
"""

from __future__ import annotations

import re

from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.formats.prefix import num_common_characters
from plaudit.preferences.group import Message

__all__ = ["check_prompt_end", "divide_dialogues", "is_transcript", "read_turns"]

HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript(text: str) -> bool:
    """Whether the text is a transcript. Without leading blank lines it must have an Assistant turn to be one.

    >>> is_transcript("\\n\\nHuman: Hi\\n\\nAssistant:"), is_transcript("Human: an essay")
    (True, False)
    """
    return text.startswith(HUMAN) or (text.startswith("Human:") and ASSISTANT in text)


def divide_dialogues(dialogues: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The shared prompt, up to and with its last "Assistant:", and what follows it in each dialogue.

    Raises:
        BadRecord: ``bad-transcript`` (no Assistant turn), ``different-prompts`` (none in the shared part).
    """
    for dialogue in dialogues:
        if ASSISTANT not in dialogue:
            raise _no_assistant(dialogue)
    first = dialogues[0]
    num_shared = min(num_common_characters(first, other) for other in dialogues[1:])
    start = first.rfind(ASSISTANT, 0, num_shared)
    if start < 0:
        raise BadRecord(
            "different-prompts",
            f"the dialogues part before their first Assistant turn, at character {num_shared:,}",
            "Compare answers to the same prompt.",
        )
    end = start + len(ASSISTANT)
    return first[:end], tuple([dialogue[end:] for dialogue in dialogues])


def read_turns(text: str, *, opens_with: str) -> tuple[Message, ...]:
    """The turns of a transcript, or of the part behind "Assistant:" where it ``opens_with`` ``assistant``.

    An empty last Assistant turn is the place where the answer goes, and is left out.
    """
    if opens_with == "user" and text.startswith("Human:"):
        text = "\n\n" + text
    parts = _TURN.split(text)
    names = [opens_with, *(_ROLES[name] for name in parts[1::2])]
    turns = [(name, part.strip()) for name, part in zip(names, parts[::2], strict=True)]
    if opens_with == "user":
        turns = turns[1:] if not turns[0][1] else turns
        if turns and turns[-1] == ("assistant", ""):
            turns.pop()
    return tuple([{"role": role, "content": part} for role, part in turns])


def check_prompt_end(prompt: str) -> None:
    """Whether a transcript used as prompt ends where the assistant begins to speak.

    Raises:
        BadRecord: ``bad-transcript``.
    """
    if not prompt.rstrip().endswith(ASSISTANT):
        raise _no_assistant(prompt)


def _no_assistant(text: str) -> BadRecord:
    return BadRecord(
        "bad-transcript",
        f"the transcript has no Assistant turn to compare: {shorten(text)!r}",
        'A transcript reads "\\n\\nHuman: ... \\n\\nAssistant: ..."; a prompt ends with "\\n\\nAssistant:".',
    )
