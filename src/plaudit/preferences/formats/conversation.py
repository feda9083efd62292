"""One prompt and its completions, brought to one kind: all text, or all messages.

Records give either as text, as a message, as a list of messages or (the prompt) not at all. Each combination
has one meaning, and it is here:

| prompt | completions | becomes |
|---|---|---|
| text | text | text; a transcript becomes messages unless it is to stay text |
| text | messages | the messages' own prompt; where they have none, the text as the user's turn |
| messages | text | messages; each text is an assistant's turn |
| messages | messages | messages; a prompt that the completions repeat is taken off them |
| none | text | the shared beginning is the prompt; of transcripts, up to the last shared "Assistant:" |
| none | messages | the shared leading messages are the prompt |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.formats.messages import assistant_turn, is_message, read_messages, user_turn
from plaudit.preferences.formats.prefix import implicit_message_prompt, implicit_text_prompt
from plaudit.preferences.formats.transcripts import (
    check_prompt_end,
    divide_dialogues,
    is_transcript,
    read_turns,
)
from plaudit.preferences.group import Completion, Message, Prompt

__all__ = ["Conversation", "Transcripts", "unify"]

Transcripts = Literal["messages", "text"]
"""What becomes of a Human/Assistant transcript."""

_OTHER_PROMPT = "records whose prompt column is not in their messages; the messages' own prompt was used"
_REPEATED_PROMPT = "records whose completions repeat the prompt, which was taken off them"


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A prompt and its completions, all text or all messages."""

    shape: str
    """Which line of the table above it was; names the format of a pair."""
    prompt: Prompt
    """Text or messages."""
    completions: tuple[Completion, ...]
    """In the record's order."""
    notes: tuple[str, ...] = ()
    """Decisions to be counted in the report."""


def unify(
    prompt: Any,
    completions: Sequence[Any],
    names: Sequence[str],
    *,
    transcripts: str,
    system: Any = None,
) -> Conversation:
    """The conversation that a record's values mean; ``names`` are its words for the completions.

    A prompt that is None, "" or [] is implicit where two completions can show it. A system text makes
    messages of everything, since plain text has no place for it.

    Raises:
        BadRecord: Wrong types, mixed kinds, messages or transcripts that cannot be read.
    """
    are_messages = _are_messages(completions, names)
    if prompt is not None and not isinstance(prompt, str | list):
        raise _wrong_type("prompt", prompt)
    if are_messages:
        conversation = _from_messages(prompt, completions, names)
    elif isinstance(prompt, list) and prompt:
        conversation = _with_answers(read_messages(prompt, "prompt"), completions)
    elif isinstance(prompt, str) and prompt:
        conversation = _from_texts(prompt, tuple(completions), transcripts)
    else:
        conversation = _from_implicit_texts(tuple(completions), transcripts)
    return _with_system(conversation, system) if system else conversation


def _are_messages(completions: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether all completions are messages rather than text."""
    kinds = []
    for value, name in zip(completions, names, strict=True):
        if isinstance(value, str):
            kinds.append(False)
        elif isinstance(value, list) or is_message(value):
            kinds.append(True)
        else:
            raise _wrong_type(name, value)
    if all(kinds) != any(kinds):
        raise BadRecord(
            "mixed-kinds",
            f"{names[kinds.index(True)]} is messages, but {names[kinds.index(False)]} is text",
            "Write all completions of a record as text, or all as lists of messages.",
        )
    return kinds[0]


def _from_texts(prompt: str, completions: tuple[str, ...], transcripts: str) -> Conversation:
    if is_transcript(prompt):
        check_prompt_end(prompt)
        return _transcript(prompt, completions, transcripts)
    if not prompt.strip():
        raise BadRecord(
            "empty-prompt",
            f"the prompt is only white space ({len(prompt)} characters)",
            "Write the prompt, or leave the key out where chosen and rejected contain it.",
        )
    return Conversation(shape="trl-standard", prompt=prompt, completions=completions)


def _from_implicit_texts(texts: tuple[str, ...], transcripts: str) -> Conversation:
    _need_two(texts)
    if any(map(is_transcript, texts)):
        prompt, completions = divide_dialogues(texts)
        return _transcript(prompt, completions, transcripts)
    end = implicit_text_prompt(*texts) if texts[0] != texts[1] else 0
    completions = tuple([text[end:] for text in texts])
    return Conversation(shape="trl-standard-implicit", prompt=texts[0][:end], completions=completions)


def _transcript(prompt: str, completions: tuple[str, ...], transcripts: str) -> Conversation:
    if transcripts == "text":
        return Conversation(shape="hh-transcript", prompt=prompt, completions=completions)
    return Conversation(
        shape="hh-transcript",
        prompt=read_turns(prompt, opens_with="user"),
        completions=tuple([read_turns(text, opens_with="assistant") for text in completions]),
    )


def _with_answers(prompt: tuple[Message, ...], texts: Sequence[str]) -> Conversation:
    answers = tuple([(assistant_turn(text),) for text in texts])
    return Conversation(shape="trl-conversational", prompt=prompt, completions=answers)


def _from_messages(prompt: Any, completions: Sequence[Any], names: Sequence[str]) -> Conversation:
    dialogues = tuple(
        [
            read_messages([value] if isinstance(value, dict) else value, name)
            for value, name in zip(completions, names, strict=True)
        ]
    )
    if isinstance(prompt, list) and prompt:
        return _with_prompt_messages(read_messages(prompt, "prompt"), dialogues)
    text = prompt if isinstance(prompt, str) else ""
    if text and all(dialogue[0]["role"] == "assistant" for dialogue in dialogues):
        return Conversation(shape="ultrafeedback", prompt=(user_turn(text),), completions=dialogues)
    if text:
        return _with_own_prompt(text, dialogues)
    _need_two(dialogues)
    return _divide("trl-conversational-implicit", dialogues, implicit_message_prompt(*dialogues))


def _with_prompt_messages(
    prompt: tuple[Message, ...], dialogues: tuple[tuple[Message, ...], ...]
) -> Conversation:
    length = len(prompt)
    if all(len(dialogue) > length and dialogue[:length] == prompt for dialogue in dialogues):
        return _divide("trl-conversational", dialogues, length, notes=(_REPEATED_PROMPT,))
    return Conversation(shape="trl-conversational", prompt=prompt, completions=dialogues)


def _with_own_prompt(prompt: str, dialogues: tuple[tuple[Message, ...], ...]) -> Conversation:
    """UltraFeedback's form: a prompt as text, and completions that are whole conversations."""
    if len(dialogues) == 1:  # nothing to compare it with: the last turn answers
        return _divided_from_text(prompt, dialogues, len(dialogues[0]) - 1)
    length = min(implicit_message_prompt(dialogues[0], other) for other in dialogues[1:])
    # The prompt ends with the last turn before the answers, which must be the same one in all conversations.
    for dialogue in dialogues:
        if any(message["role"] == "user" for message in dialogue[length:]):
            raise BadRecord(
                "different-prompts",
                f"the conversations part at message {length}, before a user's turn",
                "Compare answers to the same prompt.",
            )
    return _divided_from_text(prompt, dialogues, length)


def _divided_from_text(prompt: str, dialogues: tuple[tuple[Message, ...], ...], length: int) -> Conversation:
    is_there = any(prompt.strip() == str(message["content"]).strip() for message in dialogues[0][:length])
    return _divide("ultrafeedback", dialogues, length, notes=() if is_there else (_OTHER_PROMPT,))


def _divide(
    shape: str, dialogues: tuple[tuple[Message, ...], ...], length: int, notes: tuple[str, ...] = ()
) -> Conversation:
    return Conversation(
        shape=shape,
        prompt=dialogues[0][:length],
        completions=tuple([dialogue[length:] for dialogue in dialogues]),
        notes=notes,
    )


def _with_system(conversation: Conversation, system: Any) -> Conversation:
    if not isinstance(system, str):
        raise _wrong_type("system", system)
    prompt, completions = conversation.prompt, conversation.completions
    if isinstance(prompt, str):
        answers = tuple([(assistant_turn(str(text)),) for text in completions])
        prompt, completions = (user_turn(prompt),), answers
    elif prompt and prompt[0]["role"] in ("system", "developer"):
        return conversation
    return Conversation(
        shape=conversation.shape,
        prompt=({"role": "system", "content": system}, *prompt),
        completions=completions,
        notes=conversation.notes,
    )


def _need_two(completions: Sequence[Any]) -> None:
    if len(completions) != 2:
        raise BadRecord(
            "missing-key",
            f"no prompt, which only a pair can do without (here are {len(completions)} completions)",
            "Add the key prompt, or name it with columns={'prompt': ...}.",
        )


def _wrong_type(name: str, value: Any) -> BadRecord:
    kind = "null" if value is None else type(value).__name__
    return BadRecord(
        "wrong-type",
        f"{name} is {kind}: {shorten(repr(value))}",
        "Give text, or a list of messages.",
    )
